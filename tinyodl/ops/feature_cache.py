"""The cache of features: what the frozen layers made of samples, to learn from it again.

    CacheFeatures    keep x under `label`, where `policy` gives it room
    RecallFeatures   x = what is kept in `slot`

Both read x, which RecallFeatures writes in its place; then the slots' features (N, F) int8, and
scales (N), or "" where x is int8 itself. CacheFeatures also changes labels and sequence (N int16)
and the books (4 + 2 C int32): see `templates/kernels/feature_cache_i8.h`.
Attributes of CacheFeatures: policy, classes.
"""

from __future__ import annotations

from typing import get_args

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, Symbol, register
from tinyodl.update_plan import CachePolicy

_KERNEL = "feature_cache_i8.h"
POLICIES = get_args(CachePolicy)  # numbered as in the kernel


def _keep_call(node: Node, graph: Graph) -> Call:
    x, kept, scales, labels, sequence, books = node.inputs
    slots, features = graph.shape(kept)
    policy = POLICIES.index(node.attrs["policy"])
    sizes = (features, policy, slots, int(node.attrs["classes"]), Symbol("label"))
    operands = (Ref(x), Ref(kept), Ref(labels), Ref(sequence), Ref(books))
    if scales:
        return Call("cache_keep_f32", (*sizes, *operands, Ref(scales)))
    return Call("cache_keep_i8", (*sizes, *operands))


def _recall_call(node: Node, graph: Graph) -> Call:
    x, kept, scales = node.inputs
    _, features = graph.shape(kept)
    where = (features, Symbol("slot"), Ref(kept))
    if scales:
        return Call("cache_recall_f32", (*where, Ref(scales), Ref(x)))
    return Call("cache_recall_i8", (*where, Ref(x)))


register(Operator("CacheFeatures", _keep_call, _KERNEL))
register(Operator("RecallFeatures", _recall_call, _KERNEL))
