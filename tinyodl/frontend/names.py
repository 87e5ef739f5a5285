"""Names of the nodes of an ONNX graph, and which of them count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from tinyodl.ops.shared import unused


def node_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """A unique name for every node: its own, or `<op>_<index>` when it has none.

    A name that several nodes share is kept by the first; the result depends on the file alone.
    """
    used = {node.name for node in graph.node if node.name}
    seen: set[str] = set()
    names = []
    for index, node in enumerate(graph.node):
        name = node.name
        if not name or name in seen:
            name = unused(f"{name or node.op_type}_{index}", used)
        seen.add(name)
        names.append(name)
    return tuple(names)


def live_nodes(graph: onnx.GraphProto, outputs: Iterable[str] | None = None) -> list[int]:
    """The indices of the nodes that these outputs depend on (all outputs), as in the file."""
    needed = set(outputs) if outputs else {value.name for value in graph.output}
    live = []
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed.intersection(name for name in node.output if name):
            live.append(index)
            needed.update(name for name in read_by(node) if name)
    return live[::-1]


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The values a node reads, including outer values read by its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (value.name for value in body.output)
            for inner in body.node:
                yield from read_by(inner)
