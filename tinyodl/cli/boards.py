"""tinyodl boards."""

from __future__ import annotations

import rich_click as click


@click.command("boards")
def boards() -> None:
    """List the boards tinyodl knows, those in ./boards, and the files that cannot be used."""
    from tinyodl.cli.output import Output
    from tinyodl.errors import UserError
    from tinyodl.report import tables
    from tinyodl.targets.boards import (
        board_names,
        find_board,
        load_board,
        own_files,
        readable_boards,
    )

    printer = Output()
    found, mistakes = readable_boards(), []
    for name in sorted({*board_names()} - {board.name for board in found}):
        try:
            load_board(name)
        except UserError as error:
            mistakes.append(str(error))
    for path in own_files().values():
        try:
            found.append(find_board(str(path)))
        except UserError as error:
            mistakes.append(str(error))
    tables.print_boards(printer.people, found)
    for mistake in mistakes:
        printer.errors.print(mistake, soft_wrap=True, markup=False)
