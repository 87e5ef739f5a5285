"""PRelu: a layer whose one parameter is the slope on the negative side.

    y = x where x > 0, else slope * x
    gx = gy where x > 0, else slope * gy
    gslope = sum of x * gy where x <= 0, over the elements that a slope works on

Inputs: x, slope (broadcast to the shape of x; constant or computed).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Backward,
    Call,
    Layer,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    Struct,
    Unsupported,
    imports,
    no_macs,
    register,
    same_shape,
)
from tinyodl.ops.shared.broadcast import broadcast_shape, broadcast_struct

_KERNEL = "prelu_f32.h"


@imports("PRelu", becomes=("PRelu",), covers="a slope of any shape that can be broadcast to x")
def prelu(node: OnnxNode, scope: Scope) -> None:
    """PRelu."""
    x, slope = scope.activation(node, 0), scope.operand(node, 1)
    if broadcast_shape(slope.shape, x.shape) != x.shape:
        raise Unsupported(
            f"its slope has the shape {slope.shape} for an input of {x.shape}",
            "a slope that can be broadcast to the input",
        )
    scope.emit("PRelu", node.name, (x.name, slope.name), node.outputs[0])


def _walk(graph: Graph, slope: str, x: str) -> Struct:
    shape = graph.shape(x)
    return broadcast_struct(graph.shape(slope), shape, shape)


def _call(node: Node, graph: Graph) -> Call:
    x, slope = node.inputs[:2]
    return Call("prelu_f32", (_walk(graph, slope, x), Ref(slope), Ref(x), Ref(node.outputs[0])))


def _gradient(backward: Backward, node: Node, gy: str) -> None:
    x, slope = node.inputs[:2]
    if backward.wants(x):
        backward.add(x, backward.emit("PReluInputGradient", node, (gy, x, slope), like=x))
    if backward.wants(slope):
        gradient = backward.emit("PReluSlopeGradient", node, (gy, x), like=slope)
        backward.add(slope, gradient)


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x, slope = node.inputs
    operands = (Ref(slope), Ref(gy), Ref(x), Ref(node.outputs[0]))
    return Call("prelu_input_gradient_f32", (_walk(graph, slope, x), *operands))


def _slope_gradient_call(node: Node, graph: Graph) -> Call:
    gy, x = node.inputs
    (gslope,) = node.outputs
    operands = (Ref(gy), Ref(x), Ref(gslope))
    walk, count = _walk(graph, gslope, x), graph.tensor(gslope).size
    return Call("prelu_slope_gradient_f32", (walk, count, *operands))


register(
    Operator(
        "PRelu",
        _call,
        _KERNEL,
        same_shape,
        no_macs,
        _gradient,
        in_place=(0,),
        layer=Layer(weights=(1,)),
    )
)
register(Operator("PReluInputGradient", _input_gradient_call, _KERNEL, in_place=(0, 1)))
register(Operator("PReluSlopeGradient", _slope_gradient_call, _KERNEL))
