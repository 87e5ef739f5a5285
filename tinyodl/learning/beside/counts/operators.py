"""CountConfusion: predictions by label, at every TRAIN and before it learns.

confusion[label][predicted] += 1. Two sums count the latest predictions, the right ones and all:
each next prediction multiplies the sums so far by `fading`.

Prequential accuracy with a fading factor: Gama, Sebastiao, Rodrigues: On evaluating stream learning
algorithms, 2013.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Argument, Call, Operator, Ref, Symbol, register


def _confusion(node: Node, graph: Graph) -> Call:
    y, confusion, recent = node.inputs
    outputs = graph.tensor(y).size
    among: Argument = Symbol("choices") if node.attrs["choices"] else outputs
    operands = (Symbol("label"), Ref(y), Ref(confusion), Ref(recent))
    return Call("count_confusion", (outputs, among, node.attrs["fading"], *operands))


register(Operator("CountConfusion", _confusion, "metrics_f32.h", part="count"))
