"""The arena as a drawing: time to the right, addresses upwards, one rectangle a tensor.

A rectangle spans the steps a tensor is alive and the bytes it occupies, so rectangles never
overlap, and what lies above another shows which memory was used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from tinyodl.manifest import Manifest, TensorRecord
from tinyodl.report.figures import shape, size

WIDTH = 1000
HEIGHT = 340
LEFT, RIGHT, TOP, BOTTOM = 74, 12, 26, 34
_LETTER = 6.2  # width of a character at the label's font size
_MOST_NAMES = 48


@dataclass(frozen=True)
class _Scale:
    """Steps and bytes to the drawing's units."""

    steps: int  # columns: the upload of the sample, then the schedule
    bytes: int

    def x(self, step: int) -> float:
        return LEFT + (step + 1) * (WIDTH - LEFT - RIGHT) / self.steps

    def y(self, address: int) -> float:
        return HEIGHT - BOTTOM - address * (HEIGHT - TOP - BOTTOM) / max(self.bytes, 1)


def draw(manifest: Manifest) -> str:
    """The arena of a project as an SVG element; its colours are the page's style sheet's."""
    arena = manifest.arena
    scale = _Scale(len(manifest.schedule) + 1, max(arena.bytes, arena.lower_bound))
    parts = [
        f'<svg class="memory-map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Arena of {size(arena.bytes)}: which tensor lies where, and when">',
        *_address_axis(scale),
        *(_tensor(scale, tensor) for tensor in arena.tensors),
        *_schedule(scale, manifest),
        *_bound(scale, arena.lower_bound),
        "</svg>",
    ]
    return "\n".join(parts)


def _tensor(scale: _Scale, tensor: TensorRecord) -> str:
    x, right = scale.x(tensor.first), scale.x(tensor.last + 1)
    y, bottom = scale.y(tensor.offset + tensor.bytes), scale.y(tensor.offset)
    width, height = right - x, bottom - y
    alive = f"steps {tensor.first} to {tensor.last}".replace("steps -1", "upload")
    about = (
        f"{tensor.name}: {shape(tensor.shape)}, {tensor.bytes:,} B at {tensor.offset:,}, {alive}"
    )
    label = ""
    room = int((width - 8) / _LETTER)
    if height >= 12 and room >= 4:
        name = tensor.name if len(tensor.name) <= room else tensor.name[: room - 1] + "…"
        label = f'<text x="{x + 4:.1f}" y="{y + height / 2 + 3.5:.1f}">{escape(name)}</text>'
    return (
        f'<g class="tensor {tensor.phase.value}"><title>{escape(about)}</title>'
        f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{max(width - 1, 0.5):.1f}" '
        f'height="{max(height - 1, 0.5):.1f}" rx="2"/>{label}</g>'
    )


def _address_axis(scale: _Scale) -> list[str]:
    """Four or five round addresses with a faint line each."""
    step = 1
    while scale.bytes / step > 5:
        step *= 2
    marks = []
    for address in range(0, scale.bytes + 1, step):
        y = scale.y(address)
        marks.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="axis" x="{LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">'
            f"{size(address)}</text>"
        )
    return marks


def _bound(scale: _Scale, lower_bound: int) -> list[str]:
    y = scale.y(lower_bound)
    return [
        f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{y - 6:.1f}" text-anchor="end">'
        f"peak of live bytes: {size(lower_bound)}, no plan needs less</text>",
    ]


def _schedule(scale: _Scale, manifest: Manifest) -> list[str]:
    """The strip below: one cell a step, coloured by phase, with the operator's name if it fits."""
    y = HEIGHT - BOTTOM + 6
    strip = []
    for index, node in enumerate(manifest.schedule):
        x, right = scale.x(index), scale.x(index + 1)
        about = f"step {index}: {node.op} {node.name}, {node.phase.value}, {node.macs:,} MACs"
        label = ""
        if len(manifest.schedule) <= _MOST_NAMES:
            room = int((right - x - 4) / _LETTER)
            name = node.op if len(node.op) <= room else node.op[: max(room - 1, 0)] + "…"
            if room >= 4:
                label = (
                    f'<text x="{(x + right) / 2:.1f}" y="{y + 13:.1f}" text-anchor="middle">'
                    f"{escape(name)}</text>"
                )
        strip.append(
            f'<g class="tensor {node.phase.value}"><title>{escape(about)}</title>'
            f'<rect x="{x + 0.5:.1f}" y="{y}" width="{max(right - x - 1, 0.5):.1f}" '
            f'height="19" rx="2"/>{label}</g>'
        )
    return strip
