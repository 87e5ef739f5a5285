"""A cache of features between the frozen layers and the learning ones.

The frozen layers run once for a sample, and their output, the features, is kept in int8. The layers
after them learn from the features as often as wished, on the device alone. A cache in RAM is state
of the network: it is saved, restored and read like an optimiser's moments. In flash each sample is
written once, and the cache's books in RAM are rebuilt from the flash at every start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.learning.beside.cache.operators import KEEPS, flash_bytes
from tinyodl.learning.beside.cache.section import MOST_REPLAYED, Cache
from tinyodl.learning.beside.record import Feature, MemoryKind, Region, Setting, Step
from tinyodl.learning.frozen_part import changing_nodes, place_before
from tinyodl.ops import OPERATORS
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


def _add(step: Step) -> None:
    """Add the recall of features before the learning layers, and their storing after the loss.

    After the loss it is known whether the sample is one to learn from. Raises UserError if the
    learning layers depend on more than one tensor.
    """
    graph, plan = step.graph, step.plan
    x, behind = _boundary(graph, step.ahead)
    tensor = graph.tensor(x)
    cache, classes = Cache.on(plan), plan.classes(step.classes)
    assert classes is not None  # a cache keeps samples with labels
    slots, in_flash = cache.samples, cache.memory == "flash"
    if in_flash and cache.policy == "balanced" and slots < classes:
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
    step.add_tensors(*made)
    keeps, recalls = (
        ("FlashFeatures", "FlashRecallFeatures")
        if in_flash
        else ("CacheFeatures", "RecallFeatures")
    )
    attrs = {"slots": slots}
    of_keep = attrs | {"policy": cache.policy, "classes": classes}
    step.remember.append(
        Node(keeps, "cache.keep", (*kept, CACHED_LABELS, SEQUENCE, BOOKS), (), of_keep)
    )
    before = [node for node in step.ahead if node not in behind]
    step.ahead = (*before, Node(recalls, "cache.recall", kept, (), attrs), *behind)


def first_random(seed: int) -> int:
    """The first state of xorshift32 for a seed: 32 bits, not all 0, as an int32."""
    mixed = (seed * 0x9E3779B9 + 0x85EBCA6B) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    return int(np.array(mixed * 0x21F0AAAD & 0xFFFFFFFF or 1, np.uint32).astype(np.int32))


def _boundary(graph: Graph, forward: tuple[Node, ...]) -> tuple[str, list[Node]]:
    """The input of the first layer that learns, and the forward nodes after it."""
    learning = {Storage.PARAMETER}
    found = place_before(graph, forward, learning)
    if found is not None:
        return found
    changing = changing_nodes(graph, forward, learning)
    layers = ", ".join(f"'{node.name}'" for node in changing)
    raise UserError(
        f"the cache stores the input of the first layer that learns, '{changing[0].name}', and "
        f"everything after it must depend on that input only; here learn {layers}. Let only the "
        "last layers learn, for example a head, or leave --cache away"
    )


def _keep(graph: Graph) -> Node:
    return next(node for node in graph.nodes if node.op in KEEPS)


def _flash(graph: Graph) -> int:
    """Bytes of the cache in flash; 0 where it is all in RAM."""
    keep = _keep(graph)
    return flash_bytes(keep, graph) if keep.op == "FlashFeatures" else 0


def _facts(graph: Graph) -> dict[str, int]:
    """The cache's samples, features per sample, bytes, and the cost of one replayed sample.

    `macs` counts the layers after the cache, forward and backward, without updates.
    """
    keep = _keep(graph)
    at = next(i for i, node in enumerate(graph.nodes) if OPERATORS[node.op].part == "recall")
    behind = [node for node in graph.nodes[at:] if not node.op.startswith("Update")]
    return {
        "slots": int(keep.attrs["slots"]),
        "features": graph.tensor(keep.inputs[0]).size,
        "ram": sum(graph.tensor(name).nbytes for name in TENSORS if name in graph.tensors),
        "books": graph.tensor(BOOKS).nbytes,
        "flash": _flash(graph),
        "macs": sum(OPERATORS[node.op].macs(node, graph) for node in behind),
    }


def _advice(facts: Mapping[str, int], memory: MemoryKind, too_much: int) -> str:
    """A smaller cache that would fit, if the plan takes so many bytes too much."""
    taken, slots = facts["ram" if memory == "RAM" else "flash"], facts["slots"]
    if not taken:
        return ""
    each = (taken - facts["books"] if memory == "RAM" else taken) // slots
    fitting = slots - -(-too_much // each)
    if fitting <= 0:
        return ""
    elsewhere = memory == "RAM" and not facts["flash"]
    return (
        f"the cache of {slots:,} samples of {facts['features']:,} features takes {taken:,} B, "
        f"and one of {fitting:,} would fit: give --cache {fitting}, or tap the network where it "
        f"has fewer features{', or keep it in --cache-memory flash' if elsewhere else ''}"
    )


def _settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    most = float(MOST_REPLAYED) if plan.summed else 1.0
    return (Setting("replay", Cache.on(plan).replay, 0.0, most),)


def _context(graph: Graph, plan: UpdatePlan, c: Mapping[str, str]) -> dict[str, Any]:
    flash = _flash(graph)
    return {
        "slots": Cache.on(plan).samples,
        "flash": flash,
        "draw": "features_draw" if flash else "cache_draw",
        "labels": c[CACHED_LABELS],
        "sequence": c[SEQUENCE],
        "books": c[BOOKS],
    }


FEATURE = Feature(
    "cache",
    add=_add,
    settings=_settings,
    keeps=frozenset(TENSORS),
    ram_part="cache",
    flash=_flash,
    region=Region("FLASH_FEATURES", "NET_FEATURE_BYTES", "the cache"),
    context=_context,
    facts=_facts,
    advice=_advice,
)
