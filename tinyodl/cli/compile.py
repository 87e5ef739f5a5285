"""tinyodl compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from tinyodl.cli.compile_options import compile_options, given_options
from tinyodl.cli.options import json_option, type_path


@click.command("compile")
@click.argument("model", metavar="MODEL.onnx", type=type_path)
@compile_options()
@json_option
def compile_command(model: Path, as_json: bool, **given: Any) -> None:
    """Turn an ONNX file into a PlatformIO project for a board.

    Prints what learns, and what it takes. Nothing is written when the model cannot be compiled or
    does not fit. --board and --out are needed, here or in tinyodl.toml.
    """
    from tinyodl.cli.output import Output
    from tinyodl.compiler import compile_model
    from tinyodl.project.manifest import described_board
    from tinyodl.report import plans, values

    printer = Output(as_json)
    options = given_options(model, given, printer, needed=("board", "out"))
    board, out = options.pop("board"), Path(options.pop("out"))
    with printer.trials() as shown:
        manifest = compile_model(model, board, out, progress=shown, **options)
    plans.print_plan(printer.people, manifest)
    emulators = "".join(f", --port {name}" for name in described_board(manifest).virtual)
    without = f" (without hardware: {emulators[2:]})" if emulators else ""
    printer.tell(f"Written to {out}. Next: tinyodl flash {out}{without}")
    printer.result({"project": str(out), **values.plan_values(manifest)})
