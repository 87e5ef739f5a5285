"""tinyodl boards."""

from __future__ import annotations

import rich_click as click


@click.command("boards")
def boards() -> None:
    """List the boards tinyodl knows, and the board files that cannot be used."""
    from tinyodl.boards import board_names, load_board, readable_boards
    from tinyodl.cli.output import Output
    from tinyodl.errors import UserError
    from tinyodl.report import tables

    printer = Output()
    found = readable_boards()
    tables.print_boards(printer.people, found)
    for name in sorted({*board_names()} - {board.name for board in found}):
        try:
            load_board(name)
        except UserError as error:
            printer.errors.print(str(error), soft_wrap=True, markup=False)
