"""Places in a network: where its frozen part ends, and its last layer.

Features may store a sample's values at the end of the frozen part: learning does not change them.
"""

from __future__ import annotations

from collections.abc import Collection

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Storage
from tinyodl.ops import behind_views


def place_before(
    graph: Graph, forward: tuple[Node, ...], changing: Collection[Storage]
) -> tuple[str, list[Node]] | None:
    """The tensor between the frozen and the changing part, and the nodes after it.

    It is the input of the first node that reads a tensor of a storage in `changing`; if a
    DequantizeLinear makes this input and nothing else goes past, its integers instead. None if
    other tensors go past it, too.
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
    """The nodes that read a tensor of a storage in `changing`."""
    return [
        node
        for node in forward
        if any(name and graph.tensor(name).storage in changing for name in node.inputs)
    ]


def _is_computed(graph: Graph, name: str) -> bool:
    return graph.tensor(name).storage is Storage.ARENA


def _integers(graph: Graph, name: str) -> str:
    """The integers a tensor was dequantised from, through views; else the tensor itself."""
    node = graph.producer.get(behind_views(name, graph))
    return node.inputs[0] if node and node.op == "DequantizeLinear" else name


def _behind(forward: tuple[Node, ...], name: str) -> list[Node]:
    """The nodes that depend on a tensor, in their order."""
    made, found = {name}, []
    for node in forward:
        if made.intersection(node.inputs):
            made.update(output for output in node.outputs if output)
            found.append(node)
    return found


def last_node(graph: Graph) -> Node | None:
    """The node that makes the network's output; None if the output is the input.

    Views are skipped, and Softmax and Sigmoid: they keep the order of the classes.
    """
    node = graph.producer.get(behind_views(graph.outputs[0], graph))
    if node is not None and node.op in ("Softmax", "Sigmoid"):
        node = graph.producer.get(behind_views(node.inputs[0], graph))
    return node


def last_layer(graph: Graph) -> Node:
    """The dense layer whose output is the network's, as `last_node`. Raises UserError."""
    node, outputs = last_node(graph), graph.tensor(graph.outputs[0]).size
    if node is None or node.op != "Gemm" or graph.tensor(node.outputs[0]).size != outputs:
        found = "the input" if node is None else f"'{node.name}' ({node.op})"
        raise UserError(
            "drift watches what the last dense layer reads, and the output of this network comes "
            f"from {found}; end it with one: --head dense:N or --learner rls"
        )
    return node
