"""Tables as the terminal has them."""

from __future__ import annotations

from rich import box
from rich.table import Table


def table_of(*columns: str, title: str | None = None) -> Table:
    """Columns whose names end in "#" are numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold",
                  pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")  # fmt: skip
    for index, column in enumerate(columns):
        number = column.endswith("#")
        table.add_column(
            column.rstrip("#"), justify="right" if number else "left", no_wrap=number or index == 0
        )
    return table
