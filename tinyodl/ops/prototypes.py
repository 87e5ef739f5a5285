"""Prototypes: a dense layer of which each row is the direction of a class's mean.

    W_c = s_c / |s_c|, b_c = 0        s_c = sum of the samples of class c

The largest output is that of the class whose mean has the largest cosine with the sample: Snell,
Swersky and Zemel 2017, with the cosine for the distance. Nothing is differentiated.

Reads x (1, K); w (C, K); b (C); lengths (C), the |s_c|. A class without samples has the bias
NO_CLASS, so that it is never predicted. The loss is ZeroOne, as that of class means.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register

KERNEL = "prototypes_f32.h"


def prototype_macs(inputs: int) -> int:
    """Multiply-accumulates of one sample: two lengths, the sum and the row."""
    return 4 * inputs


def _macs(node: Node, graph: Graph) -> int:
    return prototype_macs(graph.shape(node.inputs[1])[1])


def _call(node: Node, graph: Graph) -> Call:
    _, inputs = graph.shape(node.inputs[1])
    return Call("prototypes_f32", (inputs, Symbol("label"), *map(Ref, node.inputs)))


register(Operator("Prototypes", macs=_macs, call=_call, kernel=KERNEL))
