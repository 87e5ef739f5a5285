"""Margin, QueryDecision and QueryCount: for which samples the board asks for a label.

    Margin         z (1, N) -> the margin
    QueryDecision  -> the threshold of the decision; runs when the host asks
    QueryCount     runs when a label came

QueryDecision and QueryCount read: y (1, N), the output of Margin, that of DriftLook or "", the grid
of thresholds (T), and the state: the record (T, 2) or "" where the threshold is fixed, and counts
(2). Attribute of Margin and QueryCount: among, the number of outputs that can be predicted.
Formulas are in the kernel's file. Matsutani and Marculescu: A tiny supervised ODL core with auto
data pruning, BSN 2024; the rule for the threshold is this project's.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register
from tinyodl.ops.shared.step import FLAGS, setting

THRESHOLDS = 16  # QUERY_THRESHOLDS of query_f32.h
_KERNEL = "query_f32.h"


def _margin_call(node: Node, graph: Graph) -> Call:
    z, margin = node.inputs[0], node.outputs[0]
    function = "softmax_margin_f32" if node.attrs["softmax"] else "margin_f32"
    return Call(function, (node.attrs["among"], Ref(z), Ref(margin)))


def _decision_call(node: Node, graph: Graph) -> Call:
    _, margin, drift, _, record, state = node.inputs
    seed = node.attrs["seed"] & 0x7FFFFFFF
    explore: Symbol | float = setting("explore") if record else 0.0
    rule = (seed, Symbol("sure_from()"), setting("least_trained"), explore)
    kept = map(Ref, (drift, margin, record, state, node.outputs[0]))
    return Call("query_decide_f32", (*rule, *kept, FLAGS))


def _count_call(node: Node, graph: Graph) -> Call:
    y, margin, drift, grid, record, state = node.inputs
    held = (Ref(y), Ref(grid), Ref(drift), Ref(margin), Ref(record), Ref(state))
    return Call("query_count_f32", (node.attrs["among"], Symbol("label"), *held))


register(Operator("Margin", call=_margin_call, kernel=_KERNEL, part="look"))
register(Operator("QueryDecision", call=_decision_call, kernel=_KERNEL, part="decide"))
register(Operator("QueryCount", call=_count_call, kernel=_KERNEL, part="note"))
