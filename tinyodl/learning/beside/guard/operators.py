"""The guard holds back one in so many labelled samples to test parameters on: none is learned.

    GuardHold  -> 1 if this sample is held back, else 0 (int32)
    Retest     x = the features held at `place`

GuardHold reads x, the features of the first layer that changes (F); then its states: features
(N, slots, F) int8, counts of the samples of each class (N, int32), counts of samples since the last
one and of returns since parameters were the best (2, int32), and scales (N, slots), or "" if x is
int8 itself. Retest reads x, and writes to it, the features and their scales or "".
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register
from tinyodl.ops.shared.step import FLAGS, setting

_KERNEL = "guard_i8.h"


def _hold_call(node: Node, graph: Graph) -> Call:
    x, features, counts, state, scales = node.inputs
    _, slots, size = graph.shape(features)
    rule = (slots, size, setting("guard"), setting("guard_every"), Symbol("label"))
    kept = (Ref(x), Ref(features), Ref(counts), Ref(state), Ref(node.outputs[0]), FLAGS)
    if scales:
        return Call("guard_hold_f32", (*rule, *kept, Ref(scales)))
    return Call("guard_hold_i8", (*rule, *kept))


def _retest_call(node: Node, graph: Graph) -> Call:
    x, features, scales = node.inputs
    held = (graph.tensor(x).size, Symbol("place"), Ref(features))
    if scales:
        return Call("cache_recall_f32", (*held, Ref(scales), Ref(x)))
    return Call("cache_recall_i8", (*held, Ref(x)))


register(Operator("GuardHold", call=_hold_call, kernel=_KERNEL, part="note"))
register(Operator("Retest", call=_retest_call, kernel=_KERNEL, part="retest"))
