"""Small graphs around one operator, so that every gradient of it can be read off a learner.

The operator's inputs come from dense layers with one input and a bias that learns: the gradient of
that bias is the gradient of the operator's input, element by element. Batch 2 makes the gradients
sums that can be read after one step. Where several outputs count, frozen dense layers of zeros and
ones put them one after the other into the graph's output.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.ops import OPERATORS, output_shapes
from tinyodl.project.plan import UpdatePlan

PLAN = {"loss": "mse", "batch": 2}


def around(
    op: str,
    inputs: Mapping[str, np.ndarray | None],
    attrs: Mapping[str, object] | None = None,
    weights: Collection[str] = (),
    plan: Mapping[str, object] = PLAN,
    *,
    constants: Collection[str] = (),
    used: Sequence[int] = (0,),
) -> tuple[Graph, UpdatePlan]:
    """A graph that computes `op`, and a plan under which all of its inputs and weights learn.

    `inputs` are the values that the operator shall read, in the order of its slots; None stands for
    an absent one. `weights` names those that are parameters of its own, `constants` those that are
    frozen. `used` are the outputs that the loss depends on: all of them, flat and one after the
    other, are the output (1, N); a single one is the output as it is.
    """
    tensors = {"one": Tensor("one", (1, 1))}
    nodes = []
    operands = []
    layers = {}
    for name, value in inputs.items():
        operands.append("" if value is None else name)
        if value is None:
            continue
        if name in weights or name in constants:
            tensors[name] = _constant(name, value)
            continue
        n = value.size
        tensors[f"{name}.w"] = _constant(f"{name}.w", np.zeros((n, 1), np.float32))
        tensors[f"{name}.b"] = _constant(f"{name}.b", value.reshape(n))
        tensors[f"{name}.flat"] = Tensor(f"{name}.flat", (1, n))
        tensors[name] = Tensor(name, value.shape)
        nodes.append(
            Node("Gemm", f"{name}.layer", ("one", f"{name}.w", f"{name}.b"), (f"{name}.flat",))
        )
        nodes.append(
            Node("Reshape", f"{name}.view", (f"{name}.flat",), (name,), {"shape": value.shape})
        )
        layers[f"{name}.layer"] = "bias"
    if layer := OPERATORS[op].layer:
        slots = 1 + max(*layer.weights, *layer.biases, 0)
        operands += [""] * (slots - len(operands))
        if weights:
            layers["op"] = "weights"
    node = Node(op, "op", tuple(operands), (), attrs or {})
    shapes = output_shapes(node, Graph((), tensors, (), ()))
    outputs = tuple("y" if i == used[0] else f"y{i}" for i in range(len(shapes)))
    node = Node(op, "op", tuple(operands), outputs, attrs or {})
    tensors |= {name: Tensor(name, shape) for name, shape in zip(outputs, shapes, strict=True)}
    graph = Graph((*nodes, node), tensors, ("one",), ("y",))
    if len(used) > 1:
        graph = _one_after_the_other(graph, [outputs[i] for i in used])
    return graph, UpdatePlan(layers=layers, **plan)


def _one_after_the_other(graph: Graph, parts: Sequence[str]) -> Graph:
    """These tensors, flat and one after the other, as the graph's output."""
    total = sum(graph.tensor(name).size for name in parts)
    nodes = list(graph.nodes)
    tensors = dict(graph.tensors)
    start, joined = 0, ""
    for name in parts:
        size = graph.tensor(name).size
        flat, placed, place = f"{name}.flat", f"{name}.placed", f"{name}.place"
        tensors[flat], tensors[placed] = Tensor(flat, (1, size)), Tensor(placed, (1, total))
        tensors[place] = _constant(place, np.eye(total, size, -start))
        nodes.append(Node("Reshape", flat, (name,), (flat,), {"shape": (1, size)}))
        nodes.append(Node("Gemm", placed, (flat, place, ""), (placed,)))
        if joined:
            added = f"{placed}.sum"
            tensors[added] = Tensor(added, (1, total))
            nodes.append(Node("Add", added, (joined, placed), (added,)))
        joined = added if joined else placed
        start += size
    return Graph(tuple(nodes), tensors, graph.inputs, (joined,))


def _constant(name: str, value: np.ndarray) -> Tensor:
    data = np.ascontiguousarray(value, np.float32)
    return Tensor(name, data.shape, Storage.FLASH, data=data)
