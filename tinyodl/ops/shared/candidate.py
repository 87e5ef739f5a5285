"""Layers of which a run chooses the channels that learn: their tensors, and arguments of calls.

`tinyodl.learning.candidates` has the rest.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared.calls import Symbol

PLAN = "<plan>"  # uint16: what learns, as the host writes it; see templates/net/chosen.j2
POOL = "<pool>"  # the weights that learn
_WEIGHT = 4  # input of a node with the gradient of a candidate's weights

INPUTS = "<pool.inputs>"  # the inputs that the gradients of these weights read


def number_of(node: Node) -> int | None:
    """The number of the candidate that a node belongs to; None if it belongs to none."""
    found: int | None = node.attrs.get("candidate")
    return found


def candidate_weight(gradient: Node) -> str:
    """The tensor in flash with all weights of a candidate, given the node of their gradient."""
    return gradient.inputs[_WEIGHT]


def order_name(node: Node) -> str:
    """The name of a candidate's order of channels, which is no tensor: it is chosen later."""
    return f"{PLAN[:-1]}.{node.attrs['candidate']}>"


def is_order_name(order: str) -> bool:
    """Whether this is the name of an order that is chosen later."""
    return order.startswith(f"{PLAN[:-1]}.")


def chosen(node: Node) -> Symbol:
    """In C: what is chosen of a node's layer."""
    return Symbol(f"&chosen[{node.attrs['candidate']}]")


def place_in(order: str, leading: str, turn: str) -> Symbol:
    """In C: a node's place in its own order, of the channel at place `turn` of a leading order.

    Either may be "", the order of the channels' numbers; one of them is chosen later.
    """
    channel = f"chosen_channel(&chosen[{_number(leading)}], {turn})" if leading else turn
    if not order:
        return Symbol(channel)
    return Symbol(f"chosen_place(&chosen[{_number(order)}], {channel})")


def _number(order: str) -> int:
    return int(order.removeprefix(f"{PLAN[:-1]}.").removesuffix(">"))


def has_one_filter_a_channel(node: Node, graph: Graph) -> bool:
    """Whether a convolution is depthwise, of more than one channel."""
    channels: int = graph.shape(node.inputs[0])[1]
    groups: int = node.attrs.get("group", 1)
    return channels > 1 and groups == channels == graph.shape(node.outputs[0])[1]
