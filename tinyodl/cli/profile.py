"""tinyodl profile."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import json_option, project_argument, type_path


@click.command("profile")
@project_argument
@click.option(
    "--data",
    "data_file",
    metavar="DATA.npz",
    type=type_path,
    help="Labelled samples as for stream-train, of which the first is taken; without, zeros.",
)
@json_option
def profile(project: Path, data_file: Path | None, as_json: bool) -> None:
    """Count one training step on the virtual board, node by node.

    Instructions are exact, cycles modelled; nothing that the project has saved changes.
    """
    from tinyodl.cli.output import Output
    from tinyodl.report import tables, values
    from tinyodl.session.profiling import profile_project

    output = Output(as_json)
    with output.working(f"Building {project} and counting a step"):
        found = profile_project(project, data_file)
    tables.print_profile(output.people, found)
    output.result({"project": str(project), **values.profile_values(found)})
