"""tinyodl evaluate."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import (
    json_option,
    patience_option,
    port_option,
    project_argument,
    type_path,
)


@click.command("evaluate")
@project_argument
@click.option(
    "--data",
    "data_file",
    required=True,
    metavar="DATA.npz",
    type=type_path,
    help="Labelled samples: x (N, *input) and y; CSV too where the input is flat.",
)
@port_option
@patience_option
@json_option
def evaluate(
    project: Path, data_file: Path, port: str | None, patience: float, as_json: bool
) -> None:
    """Measure accuracy and loss on the board, with the weights it has; nothing is learned."""
    from tinyodl.cli.output import Output
    from tinyodl.project import manifest
    from tinyodl.report import tables
    from tinyodl.samples import data
    from tinyodl.session.session import Session

    output = Output(as_json)
    samples = data.load(data_file, manifest.load(project))
    with (
        Session(project, port, patience) as session,
        output.stages({"after": "evaluating"}) as progress,
    ):
        evaluation = session.evaluate(
            samples.x, samples.y, source=samples.source, progress=progress
        )
    tables.print_evaluation(output.people, evaluation)
    output.result(
        {
            "project": str(project),
            "board": session.board.name,
            "port": session.port,
            "data": samples.source,
            **evaluation.model_dump(mode="json"),
        }
    )
