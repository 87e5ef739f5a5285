"""Nodes that hold other nodes, and run them in a loop on parts of the maps between them.

Attributes that all such nodes have: body, the nodes, in their order; maps, the shapes of what is
there only in parts. The tensors of these names have the shapes of the parts.
"""

from __future__ import annotations

from dataclasses import replace

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared.operator import (
    OPERATORS,
)


def in_full(node: Node, graph: Graph) -> Graph:
    """The graph with the full shapes of the maps inside this node."""
    maps = node.attrs["maps"]
    return graph.with_tensors(replace(graph.tensor(name), shape=maps[name]) for name in maps)


def macs_of_body(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of all that a node holds."""
    full = in_full(node, graph)
    return sum(OPERATORS[inner.op].macs(inner, full) for inner in node.attrs["body"])
