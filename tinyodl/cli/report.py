"""tinyodl report."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import json_option, type_path


@click.command("report")
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=type_path)
@click.option("--html", metavar="FILE", type=type_path, help="Write one self-contained page.")
@json_option
def report(folders: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Show runs side by side, in the terminal and on a page."""
    from tinyodl import runlog
    from tinyodl.cli.output import Output
    from tinyodl.report import tables, write_report

    output = Output(as_json)
    runs = [runlog.read(folder) for folder in folders]
    tables.print_runs(output.people, runs)
    if html is not None:
        write_report(runs, html)
        output.tell(f"Report: {html}")
    else:
        output.tell("With --html FILE: learning curves, confusion, memory map on a page.")
    output.result(
        {
            "runs": [run.summary.model_dump(mode="json") for run in runs],
            "html": None if html is None else str(html),
        }
    )
