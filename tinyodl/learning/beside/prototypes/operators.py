"""FirstShots: whether a sample makes a prototype; if it does, the row of its label.

Runs once a label came and no guard holds the sample back, before anything else is learned ->
taken, 1 or 0 (int32).

Reads x (1, K), the input of the last layer; its weights w (C, K); counts (C), the samples in each
prototype; lengths (C), those of their sums; scale (1), the length of a row, 0 before the first
sample. Attribute: sharpness, the scale times the |x| of the first sample. Formulas are in the
kernel's file.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.prototypes import KERNEL, prototype_macs
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register
from tinyodl.ops.shared.step import setting


def _macs(node: Node, graph: Graph) -> int:
    return prototype_macs(graph.shape(node.inputs[1])[1])


def _call(node: Node, graph: Graph) -> Call:
    x, w, counts, lengths, scale = map(Ref, node.inputs)
    _, inputs = graph.shape(node.inputs[1])
    rule = (inputs, float(node.attrs["sharpness"]), setting("shots"), Symbol("label"))
    kept = (x, w, counts, lengths, scale, Ref(node.outputs[0]))
    return Call("first_shots_f32", (*rule, *kept))


register(Operator("FirstShots", macs=_macs, call=_call, kernel=KERNEL, part="first"))
