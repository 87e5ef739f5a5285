"""A cache of features between the frozen layers and those that learn.

The frozen layers run once for a sample; what they make of it is kept in int8, and the layers behind
learn from it as often as is wished, on the device by itself. All that is kept is state of the
network, so it is saved, restored and read like what an optimiser keeps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.ops import looked_at
from tinyodl.update_plan import UpdatePlan

FEATURES = "<cache.features>"
SCALES = "<cache.scales>"
CACHED_LABELS = "<cache.labels>"
SEQUENCE = "<cache.sequence>"
BOOKS = "<cache.books>"
TENSORS = (FEATURES, SCALES, CACHED_LABELS, SEQUENCE, BOOKS)

# The first elements of the books; then two for each class: samples that came, slots.
SEEN, HELD, RANDOM, DRAWN, CLASSES = range(5)


def cache_bytes(graph: Graph) -> int:
    """What the cache of a training graph takes."""
    return sum(graph.tensor(name).nbytes for name in TENSORS if name in graph.tensors)


def features_of(graph: Graph) -> int:
    """How many features a sample has in the cache; 0 where there is none."""
    return graph.shape(FEATURES)[1] if FEATURES in graph.tensors else 0


def with_cache(graph: Graph, plan: UpdatePlan, loss: Node) -> Graph:
    """The training graph with a cache of `plan.cache` samples; its nodes stand at the features.

    At least one layer learns. Raises UserError where that does not begin behind one tensor.
    """
    forward = graph.nodes[: graph.nodes.index(loss)]
    x, behind = _boundary(graph, forward)
    tensor = graph.tensor(x)
    classes = graph.tensor(graph.outputs[0]).size
    books = np.zeros(CLASSES + 2 * classes, np.int32)
    books[RANDOM] = first_random(plan.seed)
    slots = plan.cache
    real = tensor.dtype != "int8"
    made = [
        Tensor(FEATURES, (slots, tensor.size), Storage.STATE, "int8"),
        Tensor(CACHED_LABELS, (slots,), Storage.STATE, "int16"),
        Tensor(SEQUENCE, (slots,), Storage.STATE, "int16"),
        Tensor(BOOKS, books.shape, Storage.STATE, "int32", data=books),
    ]
    if real:
        made.insert(1, Tensor(SCALES, (slots,), Storage.STATE))
    kept = (x, FEATURES, SCALES if real else "")
    attrs = {"policy": plan.cache_policy, "classes": classes}
    keep = Node("CacheFeatures", "cache.keep", (*kept, CACHED_LABELS, SEQUENCE, BOOKS), (), attrs)
    recall = Node("RecallFeatures", "cache.recall", kept, ())
    before = [node for node in forward if node not in behind]
    rest = graph.nodes[len(forward) :]
    return replace(graph.with_tensors(made), nodes=(*before, keep, recall, *behind, *rest))


def first_random(seed: int) -> int:
    """Where xorshift32 begins for a seed: 32 bits that are not 0, as an int32."""
    mixed = (seed * 0x9E3779B9 + 0x85EBCA6B) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    return int(np.array(mixed * 0x21F0AAAD & 0xFFFFFFFF or 1, np.uint32).astype(np.int32))


def _boundary(graph: Graph, forward: tuple[Node, ...]) -> tuple[str, list[Node]]:
    """The tensor behind which everything learns, and the forward nodes behind it.

    It is the input of the first layer that learns: its integers, where it was dequantised.
    """
    learning = [n for n in forward if any(_is_parameter(graph, name) for name in n.inputs)]
    x = learning[0].inputs[0]
    for name in (_integers(graph, x), x):
        behind = _behind(forward, name)
        made = {name, *(output for node in behind for output in node.outputs)}
        read = {i for node in behind for i in node.inputs if i and _is_computed(graph, i)}
        if all(node in behind for node in learning) and read <= made:
            return name, behind
    layers = ", ".join(f"'{node.name}'" for node in learning)
    raise UserError(
        f"a cache keeps what the first layer that learns reads, '{learning[0].name}', and nothing "
        f"but that may reach what follows; here learn {layers}. Let only layers behind one place "
        "learn, as a head does, or leave --cache away"
    )


def _is_parameter(graph: Graph, name: str) -> bool:
    return bool(name) and graph.tensor(name).storage is Storage.PARAMETER


def _is_computed(graph: Graph, name: str) -> bool:
    return graph.tensor(name).storage is Storage.ARENA


def _integers(graph: Graph, name: str) -> str:
    """What a tensor was dequantised from, views aside; else the tensor itself."""
    node = graph.producer.get(looked_at(name, graph))
    return node.inputs[0] if node and node.op == "DequantizeLinear" else name


def _behind(forward: tuple[Node, ...], name: str) -> list[Node]:
    """The nodes that depend on a tensor, in their order."""
    made, found = {name}, []
    for node in forward:
        if made.intersection(node.inputs):
            made.update(output for output in node.outputs if output)
            found.append(node)
    return found
