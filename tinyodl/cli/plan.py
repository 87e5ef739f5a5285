"""tinyodl plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from tinyodl.cli.options import compiler_options, json_option, learning_options, type_path


@click.command("plan")
@click.argument("model", metavar="MODEL.onnx", type=type_path)
@click.option(
    "--board",
    required=True,
    metavar="NAME|FILE.toml",
    help="See `tinyodl boards`; or the file of your own board.",
)
@learning_options
@click.option("--html", metavar="FILE", type=type_path, help="Draw the memory map on a page.")
@json_option
def plan(
    model: Path,
    board: str,
    ram: int | None,
    flash: int | None,
    html: Path | None,
    as_json: bool,
    **learning: Any,
) -> None:
    """Show what compile would do: layers, what learns, RAM and flash. Writes no project."""
    from tinyodl.cli.output import Output
    from tinyodl.compiler import plan_model
    from tinyodl.report import plans, values, write_plan

    printer = Output(as_json)
    options = compiler_options(learning)
    manifest = plan_model(model, board, **options)
    plans.print_plan(printer.people, manifest, ram=ram, flash=flash)
    if html is not None:
        write_plan(manifest, html)
        printer.tell(f"Memory map: {html}")
    printer.result(values.plan_values(manifest, ram=ram, flash=flash))
