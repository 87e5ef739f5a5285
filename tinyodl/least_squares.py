"""Recursive least squares in the place of gradients, for the dense layer that ends the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.ops import looked_at
from tinyodl.ops.recursive_least_squares import FIRST, triangle
from tinyodl.project.plan import UpdatePlan

CORRELATION = "inverse correlation"  # P of the equations, as the suffix of a state's name
POWER = "input power"  # what it began with
GAIN = "<gain>"


def fitted_layer(graph: Graph) -> Node:
    """The dense layer that learns: the only one, and at the end. Raises UserError."""
    learning = [
        node
        for node in graph.nodes
        if any(name and _is_parameter(graph, name) for name in node.inputs)
    ]
    last = _last(graph)
    if last is None or [node.name for node in learning] != [last.name]:
        found = ", ".join(f"'{node.name}' ({node.op})" for node in learning)
        raise UserError(
            "optimizer rls fits one dense layer, the last of the network, and its output is the "
            f"network's; the plan lets learn: {found}. Give --learner rls, which puts such a layer "
            "in the place of the last one, or another optimizer"
        )
    w = graph.tensor(last.inputs[1])
    if w.storage is not Storage.PARAMETER or w.dtype != "float32":
        raise UserError(f"optimizer rls fits float32 weights: plan 'weights' for '{last.name}'")
    return last


def _is_parameter(graph: Graph, name: str) -> bool:
    return graph.tensor(name).storage is Storage.PARAMETER


def _last(graph: Graph) -> Node | None:
    """The dense layer of one row whose output is the network's, views aside."""
    node = graph.producer.get(looked_at(graph.outputs[0], graph))
    if node is None or node.op != "Gemm":
        return None
    return node if graph.shape(node.outputs[0])[:-1] in ((), (1,)) else None


def with_least_squares(
    graph: Graph, plan: UpdatePlan, gradient: Node, initial: Array | None, power: float
) -> Graph:
    """The graph with the loss's gradient and, behind it, the layer's update.

    `gradient` is of the mean squared error with respect to the network's output. `initial` is P
    where samples came before: symmetric, of the layer's inputs and its bias; `power` is then the
    mean of their |x|^2.
    """
    layer = fitted_layer(graph)
    x, w, b = layer.inputs
    outputs, inputs = graph.shape(w)
    size = inputs + bool(b)
    name = f"<{w}.{CORRELATION}>"
    packed = None if initial is None else _packed(initial, size)
    begun = None if initial is None else np.array([power, FIRST], np.float32)
    scale = f"<{w}.{POWER}>"
    made = [
        Tensor(gradient.outputs[0], graph.shape(layer.outputs[0])),
        Tensor(name, (triangle(size),), Storage.STATE, data=packed),
        Tensor(scale, (2,), Storage.STATE, data=begun),
        Tensor(GAIN, (size,)),
    ]
    attrs = {"factor": -outputs / 2, "ridge": plan.ridge, "forgetting": plan.forgetting}
    operands = (gradient.outputs[0], x, w, b, name, scale)
    op = "RecursiveLeastSquares"
    update = Node(op, f"{layer.name}.{op}", operands, (GAIN,), attrs, Phase.UPDATE)
    return replace(graph.with_tensors(made), nodes=(*graph.nodes, gradient, update))


def _packed(matrix: Array, size: int) -> Array:
    if matrix.shape != (size, size):
        raise ValueError(f"P has the shape {matrix.shape}, the layer {size} inputs")
    return np.asarray(matrix[np.triu_indices(size)], np.float32)
