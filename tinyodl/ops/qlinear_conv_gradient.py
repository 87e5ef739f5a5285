"""The gradients of QLinearConv; `tinyodl.ops.qlinear_conv` describes its tensors.

QLinearConvInputGradient   of x, from the gradient of y where the mask lets it pass
QLinearConvWeightGradient  of the learning weights, handed to their learner
QLinearConvBiasGradient    of delta, likewise
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

from tinyodl.graph import Graph, Node
from tinyodl.ops.qlinear_conv import (
    channel_orders,
    conv_macs,
    conv_struct,
    fewest_rows,
    is_depthwise,
)
from tinyodl.ops.shared import (
    Argument,
    ByChannels,
    Call,
    Learner,
    Operator,
    Ref,
    Struct,
    Symbol,
    register,
)
from tinyodl.ops.shared.candidate import chosen, number_of
from tinyodl.ops.shared.quantization import zero_point

_ONTO = 5  # the slot of a gradient that the input's is added to


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    gx, scratch = (*node.outputs, "")[:2]
    operands = (*_input_gradient_operands(node), Ref(gx), Ref(scratch))
    kernel = f"{_family(node)}_input_gradient_i8"
    return Call(kernel, (_gradient_struct(node, graph), *operands))


def _family(node: Node) -> str:
    """How the kernels' names begin."""
    return "qlinear_conv" if number_of(node) is None else "chosen"


def _input_gradient_operands(node: Node) -> tuple[Argument, ...]:
    gy, w, scale, rest, order, onto = (*node.inputs, "")[:6]
    if number_of(node) is not None:
        return (Ref(gy), chosen(node), Ref(scale), Ref(w), Ref(onto))
    return (Ref(gy), Ref(w), Ref(scale), Ref(rest), *channel_orders(node, order), Ref(onto))


def _input_gradient_in_place(node: Node, graph: Graph) -> tuple[int, ...]:
    """On gy where there is a plane to work through, or on what it is added to."""
    if len(node.outputs) > 1:
        return (0,)
    return (_ONTO,) if len(node.inputs) > _ONTO else ()


def _input_gradient_onto(node: Node, graph: Graph) -> int | None:
    return _ONTO if node.attrs["group"] == 1 and len(node.outputs) == 1 else None


def _gradient_struct(node: Node, graph: Graph) -> Struct:
    weight = graph.shape(node.inputs[1])
    x, y = fewest_rows(node, graph.shape(node.outputs[0]), weight, graph.shape(node.inputs[0]))
    return conv_struct(node, x, weight, y)


def _input_gradient_by_channels(node: Node, graph: Graph) -> ByChannels | None:
    depthwise = is_depthwise(node, graph.shape(node.outputs[0]), graph.shape(node.inputs[0]))
    if node.attrs["group"] > 1 and not depthwise:
        return None
    return ByChannels(not depthwise, _input_gradient_channels, _input_gradient_order)


def _input_gradient_order(node: Node, planes: Collection[str]) -> str:
    """The order of the filters if gy comes as planes, else the order of the columns."""
    by_filters, by_columns = channel_orders(node, node.inputs[4])
    return (by_filters if node.inputs[0] in planes else by_columns).tensor


def _input_gradient_channels(
    node: Node, graph: Graph, planes: Collection[str], part: Argument, count: int
) -> Call:
    operands = (*_input_gradient_operands(node), Ref(node.outputs[0]))
    which = "filters" if node.inputs[0] in planes else "columns"
    arguments = (_gradient_struct(node, graph), part, count, *operands)
    return Call(f"{_family(node)}_input_gradient_{which}_i8", arguments)


def _weight_gradient_call(node: Node, graph: Graph) -> Call:
    filters: Argument = graph.shape(node.inputs[4])[0]
    number = number_of(node)
    if number is not None:
        filters = Symbol(f"chosen[{number}].filters")
    return _weight_gradient_channels(node, graph, (), 0, filters)


def _weight_gradient_channels(
    node: Node, graph: Graph, planes: Collection[str], part: Argument, count: Argument
) -> Call:
    gy, read, factor, order, w = node.inputs[:5]
    weight, saved = graph.shape(w), node.attrs["saved"]
    if number_of(node) is not None:
        of_x = (1, weight[1] * node.attrs["group"], *node.attrs["map"])
        x, y = fewest_rows(node, of_x, weight, graph.shape(gy))
        zero = node.attrs["zero_point"]
        numbers = (part, count, int(gy in planes), zero, int(saved))
        operands = (Ref(gy), Ref(factor), chosen(node), Learner(node.inputs[5]))
        shape = conv_struct(node, x, weight, y)
        return Call("chosen_weight_gradient_i8", (shape, *numbers, *operands))
    of_w = (1, weight[1] * node.attrs["group"], *graph.shape(read)[2:])
    x, y = fewest_rows(node, of_w, weight, graph.shape(gy))
    out_order, in_order = channel_orders(node, order)
    orders = (out_order, Ref("") if saved else in_order)
    numbers = (part, count, int(gy in planes), zero_point(read, graph), int(saved))
    arguments = (*numbers, Ref(gy), Ref(read), Ref(factor), *orders, Learner(w))
    return Call("qlinear_conv_weight_gradient_i8", (conv_struct(node, x, weight, y), *arguments))


def _weight_gradient_order(node: Node, planes: Collection[str]) -> str:
    return channel_orders(node, node.inputs[3])[0].tensor


def _weight_gradient_macs(node: Node, graph: Graph) -> int:
    return graph.tensor(node.inputs[4]).size * prod(graph.shape(node.inputs[0])[2:])


def _bias_gradient_call(node: Node, graph: Graph) -> Call:
    return _bias_gradient_channels(node, graph, (), 0, graph.shape(node.inputs[0])[1])


def _bias_gradient_channels(
    node: Node, graph: Graph, planes: Collection[str], part: Argument, count: int
) -> Call:
    gy, factor, delta = node.inputs[:3]
    arguments = (part, count, prod(graph.shape(gy)[2:]), Ref(gy), Ref(factor), Learner(delta))
    return Call("qlinear_conv_bias_gradient_i8", arguments)


register(
    Operator(
        "QLinearConvInputGradient",
        macs=lambda n, g: conv_macs(n, g, n.outputs[0], n.inputs[1], n.inputs[0]),
        call=_input_gradient_call,
        kernel="qlinear_conv_input_gradient_i8.h",
        in_place=_input_gradient_in_place,
        onto=_input_gradient_onto,
        by_channels=_input_gradient_by_channels,
    )
)
register(
    Operator(
        "QLinearConvWeightGradient",
        macs=_weight_gradient_macs,
        call=_weight_gradient_call,
        kernel="qlinear_conv_gradient_i8.h",
        by_channels=lambda node, graph: ByChannels(
            False, _weight_gradient_channels, _weight_gradient_order
        ),
    )
)
register(
    Operator(
        "QLinearConvBiasGradient",
        macs=lambda n, g: g.tensor(n.inputs[0]).size,
        call=_bias_gradient_call,
        kernel="qlinear_conv_gradient_i8.h",
        by_channels=lambda node, graph: ByChannels(False, _bias_gradient_channels),
    )
)
