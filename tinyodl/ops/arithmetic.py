"""Add: elementwise sum of two tensors of one shape; also how gradients that meet are added.

y = a + b        ga = gy, gb = gy
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.operator import (
    Backward,
    Call,
    Operator,
    Ref,
    no_macs,
    register,
    same_shape,
)


def _call(node: Node, graph: Graph) -> Call:
    a, b = node.inputs
    y = node.outputs[0]
    return Call("add_f32", (graph.tensor(y).size, Ref(a), Ref(b), Ref(y)))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    for operand in node.inputs:
        if backward.wants(operand):
            backward.add(operand, gy)


register(
    Operator("Add", _call, "arithmetic_f32.h", same_shape, no_macs, _gradient, in_place=(0, 1))
)
