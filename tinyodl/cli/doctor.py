"""tinyodl doctor."""

from __future__ import annotations

import rich_click as click


@click.command("doctor")
def doctor() -> None:
    """Show what is installed, what is missing, and how to get it."""
    from tinyodl import pio
    from tinyodl.cli.output import Output
    from tinyodl.errors import ToolError
    from tinyodl.report import tables

    checks = pio.doctor()
    tables.print_checks(Output().people, checks)
    missing = [check.name for check in checks if check.needed and not check.found]
    if missing:
        raise ToolError(f"missing: {', '.join(missing)}; see the table for how to get them")
