"""The arena as a drawing: time to the right, addresses upwards, one rectangle a tensor.

A rectangle spans a tensor's steps alive and its bytes. So rectangles never overlap, and rectangles
at the same height show reused memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tinyodl.project.manifest import Manifest, TensorRecord
from tinyodl.report.figures import shape, size
from tinyodl.text import page

WIDTH = 1000
HEIGHT = 330  # without the names of the operators
LEFT, RIGHT, TOP, BOTTOM = 74, 12, 26, 24
_LETTER = 6.9  # width of a character at the label's font size
_NARROWEST = 11  # columns for which the operators' names are written below
_LONGEST = 20  # characters of such a name


@dataclass(frozen=True)
class _Scale:
    """Steps and bytes to the drawing's units."""

    steps: int  # columns: the upload of the sample, then the schedule
    bytes: int

    @property
    def names(self) -> bool:
        """Whether a column is wide enough for the name of an operator."""
        return (WIDTH - LEFT - RIGHT) / self.steps >= _NARROWEST

    def x(self, step: int) -> float:
        return LEFT + (step + 1) * (WIDTH - LEFT - RIGHT) / self.steps

    def y(self, address: int) -> float:
        return HEIGHT - BOTTOM - address * (HEIGHT - TOP - BOTTOM) / max(self.bytes, 1)


def draw(manifest: Manifest) -> str:
    """The arena of a project as an SVG element; its colours are the page's style sheet's."""
    arena = manifest.arena
    scale = _Scale(len(manifest.schedule) + 1, max(arena.bytes, arena.lower_bound))
    longest = max((len(_short(node.op)) for node in manifest.schedule), default=0)
    below = longest * 6.2 + 4 if scale.names else 0
    parts = [
        f'<svg class="memory-map" viewBox="0 0 {WIDTH} {HEIGHT + below:.0f}" role="img" '
        f'aria-label="Arena of {size(arena.bytes)}: which tensor lies where, and when">',
        *_address_axis(scale),
        *(_tensor(scale, tensor) for tensor in arena.tensors),
        *(_name(scale, tensors) for tensors in _in_place(arena.tensors)),
        *_schedule(scale, manifest),
        *_bound(scale, arena.lower_bound),
        "</svg>",
    ]
    return "\n".join(parts)


def _tensor(scale: _Scale, tensor: TensorRecord) -> str:
    x, right = scale.x(tensor.first), scale.x(min(tensor.last + 1, scale.steps - 1))
    y, bottom = scale.y(tensor.offset + tensor.bytes), scale.y(tensor.offset)
    width, height = right - x, bottom - y
    alive = f"steps {tensor.first} to {tensor.last}".replace("steps -1", "upload")
    about = (
        f"{tensor.name}: {shape(tensor.shape)}, {tensor.bytes:,} B at {tensor.offset:,}, {alive}"
    )
    return (
        f'<g class="tensor {tensor.phase.value}"><title>{page(about)}</title>'
        f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{max(width - 1, 0.5):.1f}" '
        f'height="{max(height - 1, 0.5):.1f}" rx="2"/></g>'
    )


def _in_place(tensors: Iterable[TensorRecord]) -> list[list[TensorRecord]]:
    """Tensors that follow each other in the same bytes: an operation in place, or a view."""
    chains: list[list[TensorRecord]] = []
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.bytes, t.first)):
        last = chains[-1][-1] if chains else None
        same_bytes = last and (last.offset, last.bytes) == (tensor.offset, tensor.bytes)
        if last and same_bytes and tensor.first <= last.last:
            chains[-1].append(tensor)
        else:
            chains.append([tensor])
    return chains


def _name(scale: _Scale, chain: list[TensorRecord]) -> str:
    """The name of what the bytes end up holding, where it fits into the rectangle; else ""."""
    tensor = chain[-1]
    x, right = scale.x(chain[0].first), scale.x(min(tensor.last + 1, scale.steps - 1))
    y, bottom = scale.y(tensor.offset + tensor.bytes), scale.y(tensor.offset)
    room = int((right - x - 8) / _LETTER)
    if bottom - y < 13 or room < 3:
        return ""
    name = tensor.name if len(tensor.name) <= room else tensor.name[: room - 1] + "…"
    return f'<text class="name" x="{x + 5:.1f}" y="{(y + bottom) / 2 + 4:.1f}">{page(name)}</text>'


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
        f'<text class="axis" x="{WIDTH - RIGHT}" y="12" text-anchor="end">'
        f"dashed: {size(lower_bound)}, the peak of live bytes; no plan needs less</text>",
    ]


def _schedule(scale: _Scale, manifest: Manifest) -> list[str]:
    """The strip below: one cell a step, coloured by phase, with the operator's name if it fits."""
    y = HEIGHT - BOTTOM + 6
    strip = []
    for index, node in enumerate(manifest.schedule):
        x, right = scale.x(index), scale.x(index + 1)
        about = f"step {index}: {node.op} {node.name}, {node.phase.value}, {node.macs:,} MACs"
        strip.append(
            f'<g class="tensor {node.phase.value}"><title>{page(about)}</title>'
            f'<rect x="{x + 0.5:.1f}" y="{y}" width="{max(right - x - 1, 0.5):.1f}" '
            f'height="12" rx="2"/></g>'
        )
        if scale.names:
            middle = (x + right) / 2 + 3.5
            strip.append(
                f'<text class="step" x="{middle:.1f}" y="{HEIGHT}" text-anchor="end" '
                f'transform="rotate(-90 {middle:.1f} {HEIGHT})">{page(_short(node.op))}</text>'
            )
    return strip


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
