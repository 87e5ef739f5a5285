"""ChannelDelta: how much each channel of a map matters to the loss, summed over samples.

    delta[c]  += (sum over p of g[c, p] * a[c, p])^2
    shift[c]  += (sum over p of g[c, p])^2

with a the map and g the loss's gradient with respect to it; positions p in their order. Twice the
mean of delta over the samples is the Fisher potential of Theis et al. (Faster gaze prediction with
dense networks and Fisher pruning, 2018), by which TinyTrain (Kwon et al. 2024) ranks channels;
shift is the same for the channel's bias. Nothing is learned.
Inputs: g float32, a float32 or int8 of the same shape, delta (channels), and shift (channels) or
"" if it is not wanted. Attributes: channels, positions, and the distance from one channel, and one
position, to the next: channel_step, position_step.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, ShapeTuple, register
from tinyodl.ops.shared.quantization import zero_point


def channels_of(shape: ShapeTuple, axis: int | None) -> Mapping[str, Any]:
    """The attributes for a map of this shape, whose channels are on `axis`.

    Where that is None, they are on axis 1 of an image (1, C, H, W) and on the last axis elsewhere.
    """
    if axis is None:
        axis = 1 if len(shape) == 4 else -1
    if axis % len(shape) == len(shape) - 1:
        count = shape[-1]
        return _layout(count, prod(shape[:-1]), 1, count)
    positions = prod(shape[2:])
    return _layout(shape[1], positions, positions, 1)


def _layout(channels: int, positions: int, channel_step: int, position_step: int) -> dict[str, int]:
    return {
        "channels": channels,
        "positions": positions,
        "channel_step": channel_step,
        "position_step": position_step,
    }


def _call(node: Node, graph: Graph) -> Call:
    g, a, delta, shift = node.inputs
    names = ("channels", "positions", "channel_step", "position_step")
    sizes = tuple(node.attrs[name] for name in names)
    results = (Ref(delta), Ref(shift))
    quantization = graph.tensor(a).quantization
    if graph.tensor(a).dtype == "float32":
        return Call("channel_delta_f32", (*sizes, Ref(g), Ref(a), *results))
    assert quantization is not None
    real = (float(quantization.scale[0]), zero_point(a, graph))
    return Call("channel_delta_i8", (*sizes, *real, Ref(g), Ref(a), *results))


register(
    Operator(
        "ChannelDelta",
        _call,
        "channel_delta.h",
        macs=lambda n, g: 2 * g.tensor(n.inputs[0]).size,
    )
)
