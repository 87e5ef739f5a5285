"""NearestClassMean and StreamingLDA: dense layers made of the means of the classes.

    NearestClassMean  W = 2 M, b_c = -|m_c|^2                       Mensink et al. 2013
    StreamingLDA      W = t (S + R)^-1 M, b_c = -W_c . m_c / 2      Hayes and Kanan 2020

M are the means of the classes, S is the scatter around them, t the number of samples, R a ridge;
formulas and sources are in the kernels. Nothing is differentiated: both follow from the sample
and its label.

NearestClassMean reads x (1, K); w (C, K); b (C); counts (C), the samples of each class.
StreamingLDA reads x, w and b; P = (S + R)^-1, its upper triangle row by row (K (K + 1) / 2); means
(C, K); counts (C); begun (3): the |x|^2 of which the ridge is a share, how many samples may still
set it (up to 10), and t. Output: scratch (2, K).

A class without samples has the bias NO_CLASS, so that it is never predicted. The loss of these
layers is ZeroOne, the 0-1 loss: the outputs depend on the unit of x, and so would any other loss.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.recursive_least_squares import triangle
from tinyodl.ops.shared import Call, Operator, Ref, ShapeTuple, Symbol, register

NO_CLASS = -1e30


def _means_macs(node: Node, graph: Graph) -> int:
    return 2 * graph.shape(node.inputs[1])[1]


def _means_call(node: Node, graph: Graph) -> Call:
    _, inputs = graph.shape(node.inputs[1])
    rule = (inputs, float(node.attrs["forgetting"]), Symbol("label"))
    return Call("nearest_class_mean_f32", (*rule, *map(Ref, node.inputs)))


def _lda_macs(node: Node, graph: Graph) -> int:
    classes, inputs = graph.shape(node.inputs[1])
    leak = triangle(inputs) + classes * inputs if node.attrs["forgetting"] < 1 else 0
    return inputs * inputs + triangle(inputs) + 4 * classes * inputs + leak


def _lda_call(node: Node, graph: Graph) -> Call:
    classes, inputs = graph.shape(node.inputs[1])
    forgetting = float(node.attrs["forgetting"])
    rule: tuple[float, ...] = (float(node.attrs["ridge"]), NO_CLASS)
    function = "slda_f32"
    if forgetting < 1:
        function, rule = "slda_forgetting_f32", (*rule, forgetting)
    held = map(Ref, (*node.inputs, node.outputs[0]))
    return Call(function, (classes, inputs, *rule, Symbol("label"), *held))


def _one(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (1,)


def _zero_one_call(node: Node, graph: Graph) -> Call:
    z = node.inputs[0]
    size = Symbol("in_use") if node.attrs.get("in_use") else graph.tensor(z).size
    return Call("zero_one_f32", (size, Ref(z), Symbol("label"), Ref(node.outputs[0])))


register(
    Operator(
        "NearestClassMean",
        macs=_means_macs,
        call=_means_call,
        kernel="nearest_class_mean_f32.h",
    )
)
register(Operator("StreamingLDA", macs=_lda_macs, call=_lda_call, kernel="streaming_lda_f32.h"))
register(Operator("ZeroOne", shape=_one, call=_zero_one_call, kernel="zero_one_f32.h"))
