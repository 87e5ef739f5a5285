"""tinyodl export."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import patience_option, port_option, project_argument, type_path


@click.command("export")
@project_argument
@click.option("-o", "--out", required=True, metavar="LEARNED.onnx", type=type_path)
@port_option
@patience_option
def export(project: Path, out: Path, port: str | None, patience: float) -> None:
    """Read the weights from the board and write them into an ONNX file."""
    from tinyodl.cli.output import Output
    from tinyodl.session.session import Session

    output = Output()
    with Session(project, port, patience) as session:
        session.export(out)
    output.tell(
        f"{out}: the weights as {session.port} has them, learned from "
        f"{session.hello.steps:,} samples"
    )
