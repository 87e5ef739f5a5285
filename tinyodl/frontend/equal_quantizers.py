"""A value that is quantised several times in the same way is quantised once."""

from __future__ import annotations

from dataclasses import replace

from tinyodl.graph import Graph, Quantization


def merge_equal(graph: Graph) -> Graph:
    """The graph without nodes that quantise a value a second time in the same way."""
    first: dict[tuple[str, Quantization | None], str] = {}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        if node.op == "QuantizeLinear":
            (y,) = node.outputs
            held = first.setdefault((inputs[0], graph.tensor(y).quantization), y)
            if held != y:
                same[y] = held
                continue
        nodes.append(replace(node, inputs=inputs))
    return graph.with_nodes(nodes)
