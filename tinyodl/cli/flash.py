"""tinyodl flash."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import json_option, patience_option, port_option, project_argument


@click.command("flash")
@project_argument
@port_option
@patience_option
@click.option("-v", "--verbose", is_flag=True, help="Show what the build tool prints.")
@json_option
def flash(project: Path, port: str | None, patience: float, verbose: bool, as_json: bool) -> None:
    """Build a project, upload it or boot it, and check that the right firmware answers."""
    from tinyodl.cli.output import Output
    from tinyodl.report import tables, values
    from tinyodl.session.flashing import flash_project

    output = Output(as_json)
    if verbose:
        flashed = flash_project(
            project, port, patience, progress=lambda line: click.echo(line, err=True)
        )
    else:
        with output.working(f"Building {project}"):
            flashed = flash_project(project, port, patience)
    tables.print_flashed(output.people, flashed)
    output.result({"project": str(project), **values.flashed_values(flashed)})
