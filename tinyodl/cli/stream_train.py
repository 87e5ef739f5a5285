"""tinyodl stream-train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit

from tinyodl.cli.compile_options import click_option
from tinyodl.cli.options import (
    json_option,
    patience_option,
    port_option,
    project_argument,
    radio_bps_option,
    radio_ua_option,
    type_path,
)
from tinyodl.runs.options import RUN_OPTIONS


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """A decorator: the flags of `RunOptions`."""
    for option in reversed([*RUN_OPTIONS.values()]):
        if option.on_the_line:
            function = click_option(option)(function)
    return function


@click.command("stream-train")
@project_argument
@click.option(
    "--data",
    "data_file",
    required=True,
    metavar="DATA.npz",
    type=type_path,
    help="Labelled samples: x (N, *input) and y; CSV too where the input is flat.",
)
@click.option(
    "--eval",
    "eval_file",
    metavar="DATA.npz",
    type=type_path,
    help="Evaluate on these before and after.",
)
@run_options
@radio_ua_option
@radio_bps_option
@port_option
@patience_option
@click.option(
    "--run",
    "folder",
    metavar="RUNDIR",
    type=type_path,
    help="Where the run is logged.  [default: runs/<project>-<time>]",
)
@json_option
def stream_train(
    project: Path,
    data_file: Path,
    eval_file: Path | None,
    radio_ua: float | None,
    radio_bps: float | None,
    port: str | None,
    patience: float,
    folder: Path | None,
    as_json: bool,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Stream labelled samples to a board that learns from each, and log every step.

    Ctrl-C and SIGTERM end the run between two samples; the weights are saved and the log is kept.
    """
    from tinyodl.cli.output import Output
    from tinyodl.interrupt import Ended, last_signal
    from tinyodl.project import manifest
    from tinyodl.report import tables, write_report
    from tinyodl.runs import log as runlog
    from tinyodl.samples import data
    from tinyodl.session.radio import radio_of
    from tinyodl.session.session import Session

    output = Output(as_json)
    project_manifest = manifest.load(project)
    samples = data.load(data_file, project_manifest)
    tested = data.load(eval_file, project_manifest) if eval_file else None
    radio = radio_of(manifest.described_board(project_manifest), radio_ua, radio_bps)
    with Session(project, port, patience) as session, output.stages() as progress:
        summary = session.train(
            samples.x,
            samples.y,
            eval=(tested.x, tested.y) if tested else None,
            run=folder,
            source=samples.source,
            eval_source=tested.source if tested else "",
            progress=progress,
            settings=dict(map(_setting, settings)),
            radio=radio,
            **{name: value for name, value in options.items() if value is not None},
        )
    folder = Path(summary.run)
    run = runlog.read(folder)
    page = folder / "report.html"
    write_report([run], page)  # before printing: whoever reads the output may stop reading
    tables.print_runs(output.people, [run])
    output.tell(f"Log: {folder}   Report: {page}")
    output.result(summary.model_dump(mode="json"))
    if summary.status == "interrupted":
        raise Ended(last_signal())
    if summary.status == "harmed":
        raise Exit(1)


def _setting(text: str) -> tuple[str, float]:
    """(name, value) of "name=value"."""
    from tinyodl.errors import UserError

    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UserError(f"--set {text}: give NAME=VALUE, such as error_budget=0.05") from None
