"""tinyodl boards."""

from __future__ import annotations

import rich_click as click


@click.command("boards")
def boards() -> None:
    """List the boards tinyodl knows."""
    from tinyodl.boards import board_names, load_board
    from tinyodl.cli.output import Output
    from tinyodl.report import tables

    tables.print_boards(Output().people, [load_board(name) for name in board_names()])
