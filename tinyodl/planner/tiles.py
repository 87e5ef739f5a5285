"""How float32 kernels cut their work into tiles: the rules of `tile_f32.h` and `sliding_f32.h`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TILE_ROWS, TILE_LANES, STRIP_TAPS = 4, 8, 7
_WRITTEN_OUT_TAPS = 3


def lanes_of(count: int, most: int) -> int:
    """How many of `count` lanes to take in a turn: as many as make the least work of all turns."""
    best = 1
    for lanes in range(2, most + 1):
        if -(-count // lanes) * (lanes + 1) <= -(-count // best) * (best + 1):
            best = lanes
    return best


@dataclass(frozen=True)
class Axis:
    """Windows along an axis: tap k of window p is on element p * stride + start + k * step."""

    windows: int
    stride: int
    start: int
    taps: int
    step: int
    elements: int

    @property
    def on_map(self) -> list[int]:
        """The taps of each window that are on the map."""
        return [
            sum(0 <= first + k * self.step < self.elements for k in range(self.taps))
            for first in range(self.start, self.start + self.windows * self.stride, self.stride)
        ]


def axis(inputs: int, outputs: int, taps: int, stride: int, dilation: int, pad: int) -> Axis:
    """Of a convolution's outputs on its inputs."""
    return Axis(outputs, stride, -pad, taps, dilation, inputs)


def gradient_axes(
    inputs: int, outputs: int, taps: int, stride: int, dilation: int, pad: int
) -> list[Axis]:
    """Of the inputs on the outputs, one for each phase of the stride."""
    period = next(n for n in range(1, stride + 1) if n * dilation % stride == 0)
    found = []
    for phase in range(stride):
        offsets = ((phase + pad - k * dilation) % stride for k in range(taps))
        first = next((k for k, offset in enumerate(offsets) if offset == 0), taps)
        found.append(
            Axis(
                windows=-(-(inputs - phase) // stride),
                stride=1,
                start=(phase + pad - first * dilation) // stride,
                taps=-(-(taps - first) // period),
                step=-(period * dilation // stride),
                elements=outputs,
            )
        )
    return found


def slide(filters: int, channels: int, wide: int, down: Axis, along: Axis) -> Mapping[str, float]:
    """Tiles of filters and windows, with `wide` windows side by side where they have all taps."""
    high = lanes_of(filters, TILE_ROWS)
    bands = -(-filters // high)
    columns = along.on_map
    inside = columns.count(along.taps) if along.taps else 0
    inside = inside if inside >= wide else 0
    tiles, edge = -(-inside // wide), along.windows - inside
    edge_taps = sum(columns) - inside * along.taps
    written_out = wide > 1 and along.taps <= _WRITTEN_OUT_TAPS
    rows = sum(down.on_map) * channels * bands  # kernel rows that a column of tiles meets
    inner_taps = rows * tiles * along.taps
    return {
        "products": high * (inner_taps * wide + rows * edge_taps),
        "loads": inner_taps * (high + wide) + rows * edge_taps * (high + 1),
        "loops": rows * (tiles + edge),
        "loops by tap": rows * edge_taps + (0 if written_out else inner_taps),
        "outputs": high * bands * down.windows * (tiles * wide + edge),
        "tiles": bands * down.windows * (tiles + edge),
    }


def strips(channels: int, down: Axis, along: Axis) -> Mapping[str, float]:
    """One filter of one channel: strips of windows with the taps of a kernel row written out."""
    wide = lanes_of(along.windows, TILE_LANES)
    count = -(-along.windows // wide)
    rows = sum(down.on_map) * channels
    return {
        "products": rows * (sum(along.on_map) + (count * wide - along.windows) * along.taps),
        "loops": rows * count,
        "outputs": channels * down.windows * count * wide,
        "tiles": channels * down.windows * count,
    }


def strips_fit(down: Axis, along: Axis) -> bool:
    """Whether only the first and the last strip miss taps, of a few."""
    columns, wide = along.on_map, lanes_of(along.windows, TILE_LANES)
    if along.taps > STRIP_TAPS or along.taps not in columns:
        return False
    first = columns.index(along.taps)
    return first <= wide and first + columns.count(along.taps) >= along.windows - wide
