"""ByChannels: a part of the backward pass through wide maps by channels.

In each turn of a loop every node of the part works on the same few channels, so the gradients of
the wide maps are held only as planes of these channels. Sums are made in the order of the channels,
as the kernels make them elsewhere: the bits are the same. All of it counts as backward, the updates
in it too.
Attributes: body, the nodes; maps, the whole shapes of the planes' maps; count, the number of
channels in a turn; turns; parts, for each node the table with its part for each turn, or "" if the
part is the turn's number, or how C computes it.
Inputs: the nodes' inputs from outside, then the tables, uint16 (turns).
Outputs: the nodes' outputs for the outside, then the planes (1, count, H, W).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Call,
    Element,
    Loop,
    Operator,
    Symbol,
    by_channels_of,
    in_place_of,
    register,
)
from tinyodl.ops.shared.body import in_full, macs_of_body

TURN = "i"  # the turn's number in C


def _calls(node: Node, graph: Graph) -> tuple[Loop]:
    attrs = node.attrs
    full = in_full(node, graph)
    pairs = zip(attrs["body"], attrs["parts"], strict=True)
    calls = tuple(_call(inner, full, node, table) for inner, table in pairs)
    return (Loop(TURN, attrs["turns"], calls, attrs["body"]),)


def _call(inner: Node, graph: Graph, node: Node, table: str | Symbol) -> Call:
    rule = by_channels_of(inner, graph)
    if rule is None:
        raise ValueError(f"{inner.op} cannot work on a few channels")
    part = Element(table, TURN) if table and isinstance(table, str) else table or Symbol(TURN)
    return rule.call(inner, graph, node.attrs["maps"], part, node.attrs["count"])


def _in_place(node: Node, graph: Graph) -> tuple[int, ...]:
    """A sum for the outside may overwrite the tensor it is added to, if nothing else reads it."""
    body, maps = node.attrs["body"], node.attrs["maps"]
    read = [name for inner in body for name in inner.inputs]
    sums = [inner for inner in body if inner.outputs and inner.outputs[0] not in maps]
    added_to = (inner.inputs[slot] for inner in sums[:1] for slot in in_place_of(inner, graph))
    return tuple(node.inputs.index(name) for name in added_to if read.count(name) == 1)


register(Operator("ByChannels", _calls, None, macs=macs_of_body, in_place=_in_place))
