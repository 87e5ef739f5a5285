"""Rows: a part of the network that runs row by row through all its layers (`tinyodl.memory.rows`).

In each turn of a loop every node of the part makes the next rows of its output, or none: as many as
the nodes behind it can use. So their maps are held only as rings of a few rows. A row is made once,
by the kernel that makes the whole map elsewhere, from the same operands: the bits are the same.
Attributes: body, the nodes; maps, the whole shapes of the rings' maps; made, for each node the
table with the rows of its output made before each turn; turns. If the part works on the sample
during the upload: sample, its name, and needed, the table with the rows of it needed for each turn;
else both are "".
Inputs: the nodes' inputs from outside (the sample as a ring if no more of it is needed), then the
tables, uint16 (turns + 1), but needed is (turns).
Outputs: the last node's output, as a whole, then the rings (1, C, rows, W).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import OPERATORS, Call, Element, Loop, Operator, register
from tinyodl.ops.shared.body import in_full, macs_of_body

_TURN = "turn"


def arriving(graph: Graph) -> Node | None:
    """The node that works on the sample while it arrives; None where the sample is there first."""
    first = graph.nodes[0]
    return first if first.op == "Rows" and first.attrs["sample"] else None


def _calls(node: Node, graph: Graph) -> tuple[Loop]:
    full = in_full(node, graph)
    held = {name: graph.shape(name)[2] for name in node.attrs["maps"]}
    calls = []
    for inner in node.attrs["body"]:
        table = node.attrs["made"][inner.outputs[0]]
        first, end = Element(table, _TURN), Element(table, f"{_TURN} + 1")
        calls.append(_by_rows(inner, full, held, first, end))
    return (Loop(_TURN, node.attrs["turns"], tuple(calls), node.attrs["body"]),)


def _by_rows(node: Node, graph: Graph, held: dict[str, int], first: Element, end: Element) -> Call:
    rule = OPERATORS[node.op].by_rows
    if rule is None:
        raise ValueError(f"{node.op} cannot be computed row by row")
    return rule.call(node, graph, held, first, end)


register(Operator("Rows", _calls, None, macs=macs_of_body))
