"""tinyodl plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from tinyodl.cli.compile_options import compile_options, given_options
from tinyodl.cli.options import json_option, type_path


@click.command("plan")
@click.argument("model", metavar="MODEL.onnx", type=type_path)
@compile_options("out")
@click.option("--html", metavar="FILE", type=type_path, help="Draw the memory map on a page.")
@json_option
def plan(model: Path, html: Path | None, as_json: bool, **given: Any) -> None:
    """Show what compile would do: layers, what learns, RAM and flash. Writes no project."""
    from tinyodl.cli.output import Output
    from tinyodl.compiler import plan_model
    from tinyodl.report import plans, values, write_plan

    printer = Output(as_json)
    options = given_options(model, given, printer, needed=("board",))
    options.pop("out", None)
    board, ram, flash = options.pop("board"), options.pop("ram", None), options.pop("flash", None)
    with printer.trials() as shown:
        manifest = plan_model(model, board, ram=ram, flash=flash, progress=shown, **options)
    plans.print_plan(printer.people, manifest, ram=ram, flash=flash)
    if html is not None:
        write_plan(manifest, html)
        printer.tell(f"Memory map: {html}")
    printer.result(values.plan_values(manifest, ram=ram, flash=flash))
