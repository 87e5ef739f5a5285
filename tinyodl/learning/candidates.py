"""Layers of which a run chooses the channels that learn: how a training graph holds them.

A layer whose update is "candidate" keeps all its weights in flash. Which of its output channels
learn is in the tensor PLAN, which the host writes while the board runs; their weights are in POOL,
and the inputs that their gradients read in INPUTS. Every node that only candidates need has the
attribute `guard`: a bit for each of them. It runs if one of these layers learns. So a step computes
what a step compiled for the chosen channels would compute, in the same order: the bits are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.tensors import FRACTION, LOSS, STATES, SUM, state_name
from tinyodl.ops import OPERATORS, layers_of
from tinyodl.ops.shared.candidate import INPUTS, PLAN, POOL, has_one_filter_a_channel
from tinyodl.project.plan import UpdatePlan

MOST = 32  # bits of a mask
_CHOSEN = 36  # bytes of a chosen_layer on a board
HEADER = 2  # elements of PLAN before the first layer: what is asked for, and why it is refused


@dataclass(frozen=True)
class Candidate:
    """A layer of which some output channels may learn.

    name      that of the ONNX node
    weight    the tensor of its weights, in flash
    delta     the tensor of its bias's change, or its bias; "" where it has none
    channels  of its output; `each` weights for one
    input     elements of its input that the gradient of the weights reads: of all of it, or, where
              each channel has one filter of its own (`alone`), of each channel that learns
    reached   inputs of one output; `unit` is what the square of a step of the input stands for:
              see `tinyodl.learning.bound`
    """

    name: str
    weight: str
    delta: str
    channels: int
    each: int
    input: int
    alone: bool
    reached: float
    unit: float

    def inputs_kept(self, count: int) -> int:
        """Elements of its input that are kept where `count` channels learn, at least one."""
        return self.input * count if self.alone else self.input


def candidates_of(graph: Graph) -> tuple[Candidate, ...]:
    """The candidates of a training graph, in the order of execution: that of their numbers."""
    return tuple(_candidate(node, graph) for node in graph.nodes if _is_candidate(node))


def _is_candidate(node: Node) -> bool:
    return "candidate" in node.attrs and OPERATORS[node.op].layer is not None


def _candidate(node: Node, graph: Graph) -> Candidate:
    x, w, y = (graph.tensor(name) for name in (*node.inputs[:2], node.outputs[0]))
    alone = has_one_filter_a_channel(node, graph)
    macs = OPERATORS[node.op].macs(node, graph)
    unit = float(x.quantization.scale[0]) ** 2 if x.dtype == "int8" and x.quantization else 1.0
    return Candidate(
        name=node.name,
        weight=w.name,
        delta=node.inputs[4] if x.dtype == "int8" else node.inputs[2],
        channels=y.shape[1],
        each=prod(w.shape[1:]),
        input=prod(x.shape[2:]) if alone else x.size,
        alone=alone,
        reached=max(1.0, macs / y.size),
        unit=unit,
    )


def pools(plan: UpdatePlan, layers: int, dtype: str) -> list[Tensor]:
    """The tensors that all candidates share: the plan's numbers, the pool, the kept inputs."""
    return [
        Tensor(PLAN, (layers,), Storage.STATE, "uint16"),
        Tensor(POOL, (plan.pool,), Storage.PARAMETER, dtype),
        Tensor(INPUTS, (plan.pool_inputs,), dtype=dtype),
    ]


def choice_bytes(graph: Graph) -> int:
    """RAM for what follows from PLAN: templates/net/chosen.j2."""
    return _CHOSEN * len(candidates_of(graph)) + 8


def with_pools(graph: Graph, plan: UpdatePlan) -> Graph:
    """The graph with its candidates numbered, and the tensors that they share.

    The graph itself if it has none. Raises UserError for more candidates than there are bits, and
    for number formats that differ.
    """
    found = [node for node in graph.nodes if _is_candidate(node)]
    if not found:
        return graph
    if len(found) > MOST:
        raise UserError(
            f"the plan has {len(found)} candidates, a board chooses among {MOST} at most; "
            "name fewer with --candidates"
        )
    named = [name for name, update in plan.layers.items() if not isinstance(update, str)]
    if named:
        raise UserError(
            f"the plan has candidates, and says which channels of layer {named[0]!r} learn; make "
            "it a candidate too, and choose them while the board runs"
        )
    if not (plan.pool and plan.pool_inputs):
        raise UserError(
            "the plan has candidates and no memory for them; give the numbers pool and pool_inputs "
            "in [rule], or compile with --update device"
        )
    dtypes = sorted({graph.tensor(node.inputs[1]).dtype for node in found})
    if len(dtypes) > 1:
        raise UserError(
            f"the candidates have weights in {' and '.join(dtypes)}, and share one memory; name "
            "those of one format with --candidates"
        )
    size = HEADER + sum(1 + graph.shape(node.outputs[0])[1] for node in found)
    shared = pools(plan, size, dtypes[0])
    number = {node.name: i for i, node in enumerate(found)}
    kept = Node(f"KeptInputs{dtypes[0].capitalize()}", INPUTS.strip("<>"), (), (INPUTS,))
    nodes: list[Node] = []
    for node in graph.nodes:
        if number.get(node.name) == 0:
            nodes.append(kept)
        if node.name in number:
            attrs = {**node.attrs, "candidate": number[node.name]}
            node = replace(node, inputs=(*node.inputs, PLAN, POOL, INPUTS), attrs=attrs)
        nodes.append(node)
    return graph.with_tensors(shared).with_nodes(nodes)


def guarded(graph: Graph) -> Graph:
    """The training graph, with `guard` on each node that only candidates need."""
    if PLAN not in graph.tensors:
        return graph
    at = next(i for i, node in enumerate(graph.nodes) if node.outputs == (LOSS,))
    always = 1 << MOST
    needed: dict[str, int] = {}  # by tensor: the candidates that need it
    masks: dict[int, int] = {}
    for step in range(len(graph.nodes) - 1, at, -1):
        node = graph.nodes[step]
        mask = 0
        for name in node.outputs:
            mask |= needed.get(name, 0)
        if not node.outputs:
            mask |= _of_learner(node, always)
        for name in filter(None, node.inputs):
            needed[name] = needed.get(name, 0) | mask
        masks[step] = mask
    nodes = [_with(node, masks.get(step, always)) for step, node in enumerate(graph.nodes)]
    return replace(graph, nodes=tuple(_masking(node, needed) for node in nodes))


def _of_learner(node: Node, always: int) -> int:
    """The candidate whose parameter a node changes; all of them where it is no candidate's."""
    if "candidate" in node.attrs and node.phase is not Phase.FORWARD:
        return 1 << int(node.attrs["candidate"])
    return always


def _with(node: Node, mask: int) -> Node:
    if mask >> MOST or not mask:
        return node
    return replace(node, attrs={**node.attrs, "guard": mask})


def _masking(node: Node, needed: Mapping[str, int]) -> Node:
    """A QLinearConv that makes its mask only where a candidate needs it."""
    if node.op != "QLinearConv" or not node.outputs[1:2] or not node.outputs[1]:
        return node
    bits = needed.get(node.outputs[1], 0)
    return node if bits >> MOST else replace(node, attrs={**node.attrs, "needed": bits})


def guard_of(node: Node) -> str:
    """In C: the candidates one of which must learn for this node to run; "" if it always runs."""
    body = node.attrs.get("body")
    if body and node.phase is not Phase.FORWARD:
        masks = [inner.attrs.get("guard", 0) for inner in body]
        together = 0
        for mask in masks:
            together |= mask
        return f"0x{together:x}u" if all(masks) else ""
    mask = node.attrs.get("guard", 0)
    return f"0x{mask:x}u" if mask else ""


def context_of(graph: Graph, plan: UpdatePlan) -> Mapping[str, Any]:
    """What the templates need: nothing where there is no candidate."""
    found = candidates_of(graph)
    if not found:
        return {"candidates": ()}
    suffixes = (FRACTION, *STATES[plan.optimizer], SUM)
    own = [each.delta for each in found if each.delta]
    begun = own if graph.tensor(POOL).dtype == "int8" else []
    for name in (POOL, *own):
        begun = [
            *begun,
            *(s for suffix in suffixes if (s := state_name(name, suffix)) in graph.tensors),
        ]
    chosen = [each.delta for each in found] + [POOL]
    learning = {
        graph.consumers[name][0].name
        for name, tensor in graph.tensors.items()
        if tensor.storage is Storage.PARAMETER and name not in chosen
    }
    always = {node.name for node in layers_of(graph)} & learning
    return {
        "candidates": found,
        "pool": graph.tensor(POOL),
        "inputs_kept": graph.tensor(INPUTS),
        "chosen_plan": graph.tensor(PLAN),
        "begun_at_zero": begun,
        "always": len(always),
    }
