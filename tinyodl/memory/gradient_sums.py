"""Gradients that meet behind a branch, added where one of them lies.

If a tensor has two readers, its gradient is a sum of two. An operator that can add its gradient to
another one needs no extra node, and no memory for a gradient of its own.
"""

from __future__ import annotations

from dataclasses import replace

from tinyodl.graph import Graph, Node, Phase
from tinyodl.ops import OPERATORS, behind_views


def sums_in_place(graph: Graph) -> Graph:
    """The training graph, with gradients added by the nodes that make them, where they can."""
    for node in graph.nodes:
        if node.op == "Add" and node.phase is Phase.BACKWARD:
            graph = _without(node, graph)
    return graph


def _without(add: Node, graph: Graph) -> Graph:
    """The graph in which the later one of the two gradients is made on top of the earlier one."""
    made_at = {name: step for step, node in enumerate(graph.nodes) for name in node.outputs}
    earlier, later = sorted(add.inputs, key=lambda name: made_at[name])
    node = graph.nodes[made_at[later]]
    rule = OPERATORS[node.op].onto
    slot = rule(node, graph) if rule else None
    readers = [reader for reader in graph.nodes if later in reader.inputs]
    alone = readers == [add] and later == node.outputs[0] and earlier != later
    if slot is None or slot < len(node.inputs) or not alone:
        return graph
    read = {behind_views(name, graph) for name in node.inputs}
    if graph.shape(earlier) != graph.shape(later) or behind_views(earlier, graph) in read:
        return graph
    adding = replace(node, inputs=(*node.inputs, earlier), outputs=add.outputs)
    return graph.with_nodes(adding if n is node else n for n in graph.nodes if n is not add)
