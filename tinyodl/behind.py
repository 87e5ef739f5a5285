"""The place of a network behind which everything changes: what is kept there stays true."""

from __future__ import annotations

from collections.abc import Collection

from tinyodl.graph import Graph, Node, Storage
from tinyodl.ops import looked_at


def place_before(
    graph: Graph, forward: tuple[Node, ...], changing: Collection[Storage]
) -> tuple[str, list[Node]] | None:
    """The tensor that is all the last nodes read, and those nodes, in their order.

    The first of them is the first that reads a tensor of `changing`, behind the DequantizeLinear of
    that tensor's integers, where there is one. None where other tensors go past it.
    """
    changed = changing_nodes(graph, forward, changing)
    x = changed[0].inputs[0]
    for name in (_integers(graph, x), x):
        behind = _behind(forward, name)
        made = {name, *(output for node in behind for output in node.outputs)}
        read = {i for node in behind for i in node.inputs if i and _is_computed(graph, i)}
        if all(node in behind for node in changed) and read <= made:
            return name, behind
    return None


def changing_nodes(
    graph: Graph, forward: tuple[Node, ...], changing: Collection[Storage]
) -> list[Node]:
    """The nodes that read a tensor of such a storage."""
    return [
        node
        for node in forward
        if any(name and graph.tensor(name).storage in changing for name in node.inputs)
    ]


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
