"""A terminal that shows text as it is: brackets are no markup, and no name can move the cursor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tinyodl.text import printable


class Terminal(Console):
    """rich's console for text from anywhere. Colours come from `rich.text.Text`, not from markup.

    All text passes `tinyodl.text.printable`: strings before they are measured, so that tables stay
    straight; everything else (a `Text`, say) at the very end.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
