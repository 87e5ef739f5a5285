"""Every so many labelled samples one is held back, to test parameters on, and not learned.

    GuardHold  -> 1 where this sample is held back, else 0 (int32)
    GuardPack  the same, with the features in int8
    Retest     x = what GuardPack holds at `place`

The first two read x, the features of the first layer that changes (F); then what is kept: features
(N, slots, F), counts of the samples of each class (N, int32) and of those since the last (1,
int32); GuardPack also their scales (N, slots), or "" where x is int8 itself. Retest reads x, which
it writes in its place, the features and their scales or "".
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.query import FLAGS, setting
from tinyodl.ops.shared import Argument, Call, Operator, Ref, Symbol, register


def _held(node: Node, graph: Graph) -> tuple[Argument, ...]:
    x, features, counts, state = node.inputs[:4]
    _, slots, size = graph.shape(features)
    rule = (slots, size, setting("guard"), setting("guard_every"), Symbol("label"))
    return (*rule, Ref(x), Ref(features), Ref(counts), Ref(state), Ref(node.outputs[0]), FLAGS)


def _hold_call(node: Node, graph: Graph) -> Call:
    return Call("guard_hold_f32", _held(node, graph))


def _pack_call(node: Node, graph: Graph) -> Call:
    scales = node.inputs[4]
    if scales:
        return Call("guard_pack_f32", (*_held(node, graph), Ref(scales)))
    return Call("guard_pack_i8", _held(node, graph))


def _retest_call(node: Node, graph: Graph) -> Call:
    x, features, scales = node.inputs
    held = (graph.tensor(x).size, Symbol("place"), Ref(features))
    if scales:
        return Call("cache_recall_f32", (*held, Ref(scales), Ref(x)))
    return Call("cache_recall_i8", (*held, Ref(x)))


register(Operator("GuardHold", call=_hold_call, kernel="guard_f32.h"))
register(Operator("GuardPack", call=_pack_call, kernel="guard_i8.h"))
register(Operator("Retest", call=_retest_call, kernel="guard_i8.h"))
