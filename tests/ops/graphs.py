"""Small graphs around one operator, so that every gradient of it can be read off a learner.

The operator's inputs come from dense layers with one input and a bias that learns: the gradient of
that bias is the gradient of the operator's input, element by element. Batch 2 makes the gradients
sums that can be read after one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.ops import OPERATORS, output_shape
from tinyodl.plan import UpdatePlan

PLAN = {"loss": "mse", "batch": 2}


def around(op: str, inputs: Mapping[str, np.ndarray], attrs=None, weights=(), plan=PLAN):
    """A graph that computes `op`, and a plan under which all of its inputs and weights learn.

    `inputs` are the values that the operator shall read, `weights` names those that are its own.
    """
    tensors = {"one": Tensor("one", (1, 1))}
    nodes = []
    operands = []
    layers = {}
    for name, value in inputs.items():
        if name in weights:
            tensors[name] = _constant(name, value)
            operands.append(name)
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
        operands.append(name)
    if OPERATORS[op].layer:
        operands += [""] * (3 - len(operands))
        layers["op"] = "weights"
    node = Node(op, "op", tuple(operands), ("y",), attrs or {})
    graph = Graph((*nodes, node), tensors, ("one",), ("y",))
    graph = graph.with_tensors([Tensor("y", output_shape(node, graph))])
    return graph, UpdatePlan(layers=layers, **plan)


def _constant(name: str, value: np.ndarray) -> Tensor:
    data = np.ascontiguousarray(value, np.float32)
    return Tensor(name, data.shape, Storage.FLASH, data=data)


def elements(shape: tuple[int, ...]) -> int:
    return prod(shape)
