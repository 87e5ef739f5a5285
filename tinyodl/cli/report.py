"""tinyodl report."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import json_option, radio_bps_option, radio_ua_option, type_path


@click.command("report")
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=type_path)
@click.option("--html", metavar="FILE", type=type_path, help="Write one self-contained page.")
@click.option(
    "--csv",
    metavar="FILE",
    type=type_path,
    help="Write a sheet: a row for each run, every setting and figure in a column.",
)
@radio_ua_option
@radio_bps_option
@json_option
def report(
    folders: tuple[Path, ...],
    html: Path | None,
    csv: Path | None,
    radio_ua: float | None,
    radio_bps: float | None,
    as_json: bool,
) -> None:
    """Show runs side by side, in the terminal and on a page. RUN: a run, or a folder of runs."""
    from tinyodl.cli.output import Output
    from tinyodl.report import tables, write_report, write_sheet
    from tinyodl.runs import log as runlog
    from tinyodl.session.radio import with_radio

    output = Output(as_json)
    runs = [run for folder in folders for run in runlog.read_all(folder, output.errors.print)]
    if radio_ua is not None or radio_bps is not None:
        runs = [with_radio(run, radio_ua, radio_bps) for run in runs]
    tables.print_runs(output.people, runs)
    if html is not None:
        write_report(runs, html)
        output.tell(f"Report: {html}")
    else:
        output.tell("With --html FILE: learning curves, confusion, memory map on a page.")
    if csv is not None:
        write_sheet(runs, csv)
        output.tell(f"Sheet: {csv}")
    output.result(
        {
            "runs": [run.summary.model_dump(mode="json") for run in runs],
            "html": None if html is None else str(html),
            "csv": None if csv is None else str(csv),
        }
    )
