"""The cache of features: outputs of the frozen layers, kept so that the rest can train on them.

    CacheFeatures        keep x under `label`, if `policy` gives it room
    RecallFeatures       x = the features in `slot`
    FlashFeatures        the same two with the features in flash
    FlashRecallFeatures

All read x, which the second ones write in its place; in RAM then the slots' features (N, F) int8,
and scales (N), or "" where x is int8 itself. The first ones also change labels and sequence (N
int16) and the books (4 + 2 C int32, one more for flash): see `feature_cache_i8.h` and
`feature_flash_i8.h` in `templates/kernels/`. Attributes: slots; of the first ones also policy and
classes.
"""

from __future__ import annotations

from functools import partial
from typing import get_args

from tinyodl.graph import Graph, Node
from tinyodl.learning.beside.cache.section import CachePolicy
from tinyodl.ops.shared import Argument, Call, Operator, Ref, Symbol, register
from tinyodl.ops.shared.step import FLASH_HEADER

KEEPS = ("CacheFeatures", "FlashFeatures")

_POLICIES = get_args(CachePolicy)  # numbered as in the kernel
_MODEL_ID = Symbol("net_model_id")


def record_bytes(node: Node, graph: Graph) -> int:
    """Bytes of a sample in flash: its label, for float32 features a scale, and the features."""
    x = graph.tensor(node.inputs[0])
    return (4 if x.dtype == "int8" else 8) + -(-x.size // 4) * 4


def flash_bytes(node: Node, graph: Graph) -> int:
    """Bytes of flash that the cache of a FlashFeatures node takes."""
    return FLASH_HEADER + int(node.attrs["slots"]) * record_bytes(node, graph)


def _typed(function: str, node: Node, graph: Graph) -> str:
    return f"{function}_{'i8' if graph.tensor(node.inputs[0]).dtype == 'int8' else 'f32'}"


def _rule(node: Node) -> tuple[Argument, ...]:
    policy = _POLICIES.index(node.attrs["policy"])
    return (policy, int(node.attrs["slots"]), int(node.attrs["classes"]), Symbol("label"))


def _keep_call(node: Node, graph: Graph) -> Call:
    x, kept, scales, *books = node.inputs
    held = [Ref(name) for name in (x, kept, *books, scales) if name]
    function = _typed("cache_keep", node, graph)
    return Call(function, (graph.tensor(x).size, *_rule(node), *held))


def _recall_call(node: Node, graph: Graph) -> Call:
    x, kept, scales = node.inputs
    held = [Ref(name) for name in (kept, scales, x) if name]
    function = _typed("cache_recall", node, graph)
    return Call(function, (graph.tensor(x).size, Symbol("slot"), *held))


def _flash_keep_call(node: Node, graph: Graph) -> Call:
    x, *books = node.inputs
    sizes = (graph.tensor(x).size, record_bytes(node, graph), *_rule(node), _MODEL_ID)
    features = ("", x) if graph.tensor(x).dtype == "int8" else (x, "")
    kept: tuple[Argument, ...] = tuple(map(Ref, (*features, *books)))
    return Call("features_keep", (*sizes, *kept, Symbol("&not_kept")))


def _flash_recall_call(node: Node, graph: Graph) -> Call:
    x = node.inputs[0]
    sizes = (graph.tensor(x).size, Symbol("slot"), record_bytes(node, graph))
    return Call(_typed("features_recall", node, graph), (*sizes, Ref(x)))


def _flash_call(function: str, node: Node, graph: Graph) -> Call:
    slots, classes = int(node.attrs["slots"]), int(node.attrs["classes"])
    sizes = (slots, record_bytes(node, graph), classes, _MODEL_ID)
    return Call(function, (*sizes, *map(Ref, node.inputs[1:])))


register(Operator("CacheFeatures", _keep_call, "feature_cache_i8.h", part="remember"))
register(Operator("RecallFeatures", _recall_call, "feature_cache_i8.h", part="recall"))
register(
    Operator(
        "FlashFeatures",
        _flash_keep_call,
        "feature_flash_i8.h",
        part="remember",
        recover=partial(_flash_call, "features_find"),
        go_back=partial(_flash_call, "features_hold"),
    )
)
register(Operator("FlashRecallFeatures", _flash_recall_call, "feature_flash_i8.h", part="recall"))
