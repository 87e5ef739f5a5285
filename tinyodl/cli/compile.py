"""tinyodl compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from tinyodl.cli.options import compiler_options, json_option, learning_options, type_path


@click.command("compile")
@click.argument("model", metavar="MODEL.onnx", type=type_path)
@click.option(
    "--board",
    required=True,
    metavar="NAME|FILE.toml",
    help="See `tinyodl boards`; or the file of your own board.",
)
@click.option("-o", "--out", required=True, metavar="DIR", type=type_path, help="The project.")
@learning_options
@json_option
def compile_command(
    model: Path,
    board: str,
    out: Path,
    ram: int | None,
    flash: int | None,
    as_json: bool,
    **learning: Any,
) -> None:
    """Turn an ONNX file into a PlatformIO project for a board.

    Prints what learns, and what it takes. Nothing is written when the model cannot be compiled or
    does not fit.
    """
    from tinyodl.cli.output import Output
    from tinyodl.compiler import compile_model
    from tinyodl.manifest import described_board
    from tinyodl.report import plans, values

    printer = Output(as_json)
    options = compiler_options(learning)
    manifest = compile_model(model, board, out, ram=ram, flash=flash, **options)
    plans.print_plan(printer.people, manifest)
    emulators = "".join(f", --port {name}" for name in described_board(manifest).virtual)
    without = f" (without hardware: {emulators[2:]})" if emulators else ""
    printer.tell(f"Written to {out}. Next: tinyodl flash {out}{without}")
    printer.result({"project": str(out), **values.plan_values(manifest)})
