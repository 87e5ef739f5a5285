"""A cache of features between the frozen layers and those that learn.

The frozen layers run once for a sample; what they make of it is kept in int8, and the layers behind
learn from it as often as is wished, on the device by itself. In RAM all of it is state of the
network, so it is saved, restored and read like what an optimiser keeps. In flash each sample is
written once, and what the RAM has to know of it is found there at every start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinyodl.behind import changing_nodes, place_before
from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.ops.feature_cache import KEEPS, flash_bytes
from tinyodl.project.plan import UpdatePlan

FEATURES = "<cache.features>"
SCALES = "<cache.scales>"
CACHED_LABELS = "<cache.labels>"
SEQUENCE = "<cache.sequence>"
BOOKS = "<cache.books>"
TENSORS = (FEATURES, SCALES, CACHED_LABELS, SEQUENCE, BOOKS)

# The first elements of the books; then two for each class: samples that came, slots. In flash one
# more: slots that were begun.
SEEN, HELD, RANDOM, DRAWN, CLASSES = range(5)


@dataclass(frozen=True)
class Cache:
    """The cache of a training graph: samples, features of each, and bytes."""

    slots: int
    features: int
    ram: int
    flash: int  # 0: it is all in RAM


def cache_of(graph: Graph) -> Cache | None:
    """The cache of a training graph, if it has one."""
    for node in graph.nodes:
        if node.op in KEEPS:
            ram = sum(graph.tensor(name).nbytes for name in TENSORS if name in graph.tensors)
            flash = flash_bytes(node, graph) if node.op == "FlashFeatures" else 0
            features = graph.tensor(node.inputs[0]).size
            return Cache(int(node.attrs["slots"]), features, ram, flash)
    return None


def with_cache(graph: Graph, plan: UpdatePlan, loss: Node) -> Graph:
    """The training graph with a cache of `plan.cache` samples.

    Its features are recalled ahead of the layers behind them, and kept behind the loss, when it is
    known that the sample is one to learn from. At least one layer learns. Raises UserError where
    that does not begin behind one tensor.
    """
    forward = graph.nodes[: graph.nodes.index(loss)]
    x, behind = _boundary(graph, forward)
    tensor = graph.tensor(x)
    classes, slots = plan.classes(graph.tensor(graph.outputs[0]).size), plan.cache
    assert classes is not None  # a cache keeps samples with labels
    in_flash = plan.cache_memory == "flash"
    if in_flash and plan.cache_policy == "balanced" and slots < classes:
        raise UserError(
            f"--cache {slots}: in flash every class has an equal share of the slots, and there are "
            f"{classes} classes; give at least {classes}, or --cache-policy first"
        )
    books = np.zeros(CLASSES + 2 * classes + in_flash, np.int32)
    books[RANDOM] = first_random(plan.seed)
    made = [
        Tensor(CACHED_LABELS, (slots,), Storage.STATE, "int16"),
        Tensor(SEQUENCE, (slots,), Storage.STATE, "int16"),
        Tensor(BOOKS, books.shape, Storage.STATE, "int32", data=books),
    ]
    kept: tuple[str, ...] = (x,)
    if not in_flash:
        real = tensor.dtype != "int8"
        kept = (x, FEATURES, SCALES if real else "")
        scales = [Tensor(SCALES, (slots,), Storage.STATE)] if real else []
        made = [Tensor(FEATURES, (slots, tensor.size), Storage.STATE, "int8"), *scales, *made]
    keeps, recalls = (
        ("FlashFeatures", "FlashRecallFeatures")
        if in_flash
        else ("CacheFeatures", "RecallFeatures")
    )
    attrs = {"slots": slots}
    of_keep = attrs | {"policy": plan.cache_policy, "classes": classes}
    keep = Node(keeps, "cache.keep", (*kept, CACHED_LABELS, SEQUENCE, BOOKS), (), of_keep)
    recall = Node(recalls, "cache.recall", kept, (), attrs)
    before = [node for node in forward if node not in behind]
    rest = graph.nodes[len(forward) + 1 :]
    nodes = (*before, recall, *behind, loss, keep, *rest)
    return replace(graph.with_tensors(made), nodes=nodes)


def first_random(seed: int) -> int:
    """Where xorshift32 begins for a seed: 32 bits that are not 0, as an int32."""
    mixed = (seed * 0x9E3779B9 + 0x85EBCA6B) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    return int(np.array(mixed * 0x21F0AAAD & 0xFFFFFFFF or 1, np.uint32).astype(np.int32))


def _boundary(graph: Graph, forward: tuple[Node, ...]) -> tuple[str, list[Node]]:
    """The tensor behind which everything learns, and the forward nodes behind it."""
    learning = {Storage.PARAMETER}
    found = place_before(graph, forward, learning)
    if found is not None:
        return found
    changing = changing_nodes(graph, forward, learning)
    layers = ", ".join(f"'{node.name}'" for node in changing)
    raise UserError(
        f"a cache keeps what the first layer that learns reads, '{changing[0].name}', and nothing "
        f"but that may reach what follows; here learn {layers}. Let only layers behind one place "
        "learn, as a head does, or leave --cache away"
    )
