"""DriftLook and DriftLearn: whether samples have moved away from the learned ones.

    DriftLook     for every sample of a step that may learn -> (drift or not, distance)
    DriftLearn    for every labelled sample
    DriftRetrain  before DriftLearn: recursive least squares begins anew after a drift

The first two read: y (1, N), the network's output; x, the features of the last layer (F); then
what is kept: centroids of labelled samples (N, F), of recent ones (N, F), counts (2, N) and the
spread of the distances (3, N). DriftLearn also reads what DriftLook made. Formulas are in the
kernel's file. Attributes: among, as of Margin; of DriftLearn label, the class that is learned, or
-1. Yamada and Matsutani: A lightweight concept drift detection method for on-device learning on
resource-limited edge devices, IPDPSW 2023, with a running mean for their window.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, register
from tinyodl.ops.shared.step import FLAGS, setting

_KERNEL = "drift_f32.h"


def _sizes(node: Node, graph: Graph) -> tuple[int, int]:
    return graph.shape(node.inputs[4])[1], graph.tensor(node.inputs[1]).size


def _macs(node: Node, graph: Graph) -> int:
    return 2 * graph.tensor(node.inputs[1]).size


def _look_call(node: Node, graph: Graph) -> Call:
    rule = map(setting, ("drift", "drift_window", "drift_warmup", "drift_z"))
    kept = map(Ref, node.inputs)
    sizes = (*_sizes(node, graph), node.attrs["among"])
    return Call("drift_look_f32", (*sizes, *rule, *kept, Ref(node.outputs[0]), FLAGS))


def _learn_call(node: Node, graph: Graph) -> Call:
    y, x, trained, _, counts, spread, seen = map(Ref, node.inputs)
    operands = (setting("drift_window"), node.attrs["label"], y, x, trained, counts, spread, seen)
    sizes = (*_sizes(node, graph), node.attrs["among"])
    return Call("drift_learn_f32", (*sizes, *operands))


def _retrain_call(node: Node, graph: Graph) -> Call:
    counts, begun = node.inputs
    _, classes = graph.shape(counts)
    return Call("drift_retrain_f32", (classes, setting("drift_retrain"), Ref(counts), Ref(begun)))


register(Operator("DriftRetrain", call=_retrain_call, kernel=_KERNEL, part="note"))
register(Operator("DriftLook", call=_look_call, kernel=_KERNEL, macs=_macs, part="look"))
register(Operator("DriftLearn", call=_learn_call, kernel=_KERNEL, macs=_macs, part="note"))
