"""tinyodl export."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import port_option, project_argument, type_path


@click.command("export")
@project_argument
@click.option("-o", "--out", required=True, metavar="LEARNED.onnx", type=type_path)
@port_option
def export(project: Path, out: Path, port: str | None) -> None:
    """Read the weights from the board and write them into an ONNX file."""
    from tinyodl.cli.output import Output
    from tinyodl.stream import Session

    output = Output()
    with Session(project, port) as session:
        session.export(out)
    output.tell(
        f"{out}: the weights as {session.port} has them, learned from "
        f"{session.hello.steps:,} samples"
    )
