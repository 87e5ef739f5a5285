"""A bound on each step; rule in `tinyodl.learning.bound`, formulas in `bound_f32.h`.

    StepReach       (x, before) -> reach (1), with `before` added
    StepBound       (gy, reach) -> gy, smaller if the step would reach too far
    StepSeen        (gy, reach, seen) -> gy, smaller if it is far larger than earlier ones
    StepNormalised  (gy, reach) -> gy / reach

x is the input of a learning layer, or "" if only biases learn; `before` is "" for the first of
several. `seen` (2) is kept between steps. Attributes of StepReach: ratio, ones, zero_point; of
StepBound: most, far, to, and outputs, the factor of most and to; of StepSeen: times, by_gradient.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, ShapeTuple, Struct, Symbol, register
from tinyodl.ops.shared.candidate import chosen, number_of
from tinyodl.ops.shared.step import FLAGS

_KERNEL = "bound_f32.h"


def _scalar(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (1,)


def _like_first(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return shapes[0]


def _size(node: Node, graph: Graph) -> int:
    x = node.inputs[0]
    return graph.tensor(x).size if x else 0


def _reach_call(node: Node, graph: Graph) -> Call:
    x, before = node.inputs
    if number_of(node) is not None:
        zero: int = node.attrs["zero_point"]
        return Call("chosen_reach_i8", (zero, chosen(node), Ref(before), Ref(node.outputs[0])))
    ratio, ones = float(node.attrs["ratio"]), node.attrs["ones"]
    ones = ones if isinstance(ones, Symbol) else float(ones)
    operands = (ratio, ones, Ref(x), Ref(before), Ref(node.outputs[0]))
    if x and graph.tensor(x).dtype == "int8":
        zero_point: int = node.attrs["zero_point"]
        return Call("bound_reach_i8", (_size(node, graph), zero_point, *operands))
    return Call("bound_reach_f32", (_size(node, graph), *operands))


def _bound_call(node: Node, graph: Graph) -> Call:
    gy, reach = node.inputs
    limits = Struct("step_bound", tuple((key, node.attrs[key]) for key in ("most", "far", "to")))
    rule = (limits, node.attrs["outputs"], Symbol("learning_rate"))
    operands = (Ref(reach), Ref(gy), Ref(node.outputs[0]), FLAGS)
    return Call("bound_step_f32", (_size(node, graph), *rule, *operands))


def _seen_call(node: Node, graph: Graph) -> Call:
    gy, reach, seen = node.inputs
    rule = (int(node.attrs["by_gradient"]), float(node.attrs["times"]))
    operands = (Ref(reach), Ref(gy), Ref(seen), Ref(node.outputs[0]), FLAGS)
    return Call("bound_by_seen_f32", (_size(node, graph), *rule, *operands))


def _normalised_call(node: Node, graph: Graph) -> Call:
    gy, reach = node.inputs
    operands = (Ref(reach), Ref(gy), Ref(node.outputs[0]))
    return Call("bound_normalised_f32", (_size(node, graph), *operands))


register(Operator("StepReach", _reach_call, _KERNEL, shape=_scalar, macs=_size, in_place=(1,)))
for _name, _call in (
    ("StepBound", _bound_call),
    ("StepSeen", _seen_call),
    ("StepNormalised", _normalised_call),
):
    register(Operator(_name, _call, _KERNEL, shape=_like_first, macs=_size, in_place=(0,)))
