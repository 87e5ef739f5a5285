"""GuardHold: every so many labelled samples one is kept to test parameters on, and not learned.

Inputs: x, the features of the last layer (F); then what is kept: features (N, slots, F), counts of
the samples of each class (N, int32) and of those since the last (1, int32). Output: 1 where this
sample is held back, else 0 (int32).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.query import FLAGS, setting
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register


def _call(node: Node, graph: Graph) -> Call:
    x, features, counts, state = node.inputs
    _, slots, size = graph.shape(features)
    kept = (Ref(x), Ref(features), Ref(counts), Ref(state), Ref(node.outputs[0]), FLAGS)
    rule = (setting("guard"), setting("guard_every"))
    return Call("guard_hold_f32", (slots, size, *rule, Symbol("label"), *kept))


register(Operator("GuardHold", call=_call, kernel="guard_f32.h"))
