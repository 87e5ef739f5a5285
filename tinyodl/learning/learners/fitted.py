"""Code shared by the learners that put a fresh last layer into the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Storage
from tinyodl.ops import behind_views

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options

OUTPUTS = ("classes", "max_classes")  # options
START = ("start", "start_weight")


def outputs_of(options: Options) -> str:
    """How many outputs a fresh layer has, as `--head` writes it."""
    return str(options.get("max_classes", options.get("classes", "*")))


def with_fresh_layer(options: Options) -> Options:
    """The options with a fresh last layer, and labels as they come if its outputs are free."""
    learner = options["learner"]
    if options.get("update", "last") != "last":
        raise UserError(f"--learner {learner} learns its own layer; leave --update away")
    if "start_weight" in options and "start" not in options:
        raise UserError("--start-weight is for --start: give both")
    if not options.get("start_weight", 1) > 0:
        raise UserError(f"--start-weight {options['start_weight']}: give more than 0")
    made: Options = {**options, "head": f"dense:{outputs_of(options)}"}
    if made.get("loss") != "mse":
        made.setdefault("unlabelled", True)
        if "max_classes" in made:
            made.setdefault("labels", ())
    return made


def fitted_layer(graph: Graph, optimizer: str, learner: str) -> Node:
    """The only layer that learns, a dense layer at the end. Raises UserError if there is none."""
    learning = [
        node
        for node in graph.nodes
        if any(name and _is_parameter(graph, name) for name in node.inputs)
    ]
    last = _last(graph)
    if last is None or [node.name for node in learning] != [last.name]:
        found = ", ".join(f"'{node.name}' ({node.op})" for node in learning)
        raise UserError(
            f"optimizer {optimizer} fits one dense layer, the last of the network, and its output "
            f"is the network's; the plan lets learn: {found}. Give --learner {learner}, which puts "
            "such a layer in the place of the last one, or another optimizer"
        )
    w = graph.tensor(last.inputs[1])
    if w.storage is not Storage.PARAMETER or w.dtype != "float32":
        raise UserError(
            f"optimizer {optimizer} fits float32 weights: plan 'weights' for '{last.name}'"
        )
    return last


def _is_parameter(graph: Graph, name: str) -> bool:
    return graph.tensor(name).storage is Storage.PARAMETER


def _last(graph: Graph) -> Node | None:
    """The dense layer of one row that makes the network's output, through views at most."""
    node = graph.producer.get(behind_views(graph.outputs[0], graph))
    if node is None or node.op != "Gemm":
        return None
    return node if graph.shape(node.outputs[0])[:-1] in ((), (1,)) else None
