"""tinyodl stream-train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from tinyodl.cli.options import (
    json_option,
    patience_option,
    port_option,
    project_argument,
    radio_bps_option,
    radio_ua_option,
    type_path,
)

if TYPE_CHECKING:
    from tinyodl.runs.options import Keep
    from tinyodl.runs.replaying import Order


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
@click.option("--epochs", type=int, default=1, show_default=True)
@click.option("--limit", type=int, metavar="N", help="End each epoch after N samples.")
@click.option(
    "--shuffle",
    type=int,
    metavar="SEED",
    help="Another order each epoch; without it, as in the file.",
)
@click.option("--lr", type=float, help="Learning rate; the compiled one if not given.")
@click.option(
    "--draw",
    type=click.Choice(["epochs", "uniform", "balanced"]),
    default="epochs",
    show_default=True,
    help="Where the project keeps a cache: how the epochs after the first draw from it, all of it "
    "in turn, or with replacement any sample or any class with the same chance.",
)
@click.option(
    "--reset",
    is_flag=True,
    help="Begin with the weights of the ONNX file, not with those the board has.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A run-time setting of the firmware, e.g. error_budget=0.05; repeat it for several.",
)
@click.option(
    "--query",
    is_flag=True,
    help="Send labels only where the board wants them; compile with --query.",
)
@click.option(
    "--teacher",
    metavar="BIG.onnx",
    type=type_path,
    help="With --query: labels are what this network says, not y.",
)
@click.option(
    "--keep-outliers",
    is_flag=True,
    help="Learn from samples far outside those before too, in this run.",
)
@click.option("--silent", is_flag=True, help="With --query: never answer.")
@click.option(
    "--save",
    type=click.Choice(["unharmed", "always"]),
    default="unharmed",
    show_default=True,
    help="Which weights to save at the end. A run that did harm (clearly less accuracy on --eval, "
    "or a loss that ran away) ends with exit code 1, and the board goes back to the weights of "
    "before; always: it saves them all the same.",
)
@click.option(
    "--save-every",
    type=int,
    metavar="N",
    help="Save on the board at the beginning and after every N samples, so that a board that loses "
    "its power goes on from there. Each save erases a slot of flash, rated for 10,000 erases.",
)
@click.option(
    "--resume",
    metavar="RUNDIR",
    type=type_path,
    help="Go on with the run in this folder, which was cut off: from its last save, or from its "
    "beginning. Give the data and options that it began with.",
)
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
    epochs: int,
    limit: int | None,
    shuffle: int | None,
    lr: float | None,
    draw: Order,
    reset: bool,
    settings: tuple[str, ...],
    query: bool,
    teacher: Path | None,
    silent: bool,
    save: Keep,
    save_every: int | None,
    resume: Path | None,
    keep_outliers: bool,
    radio_ua: float | None,
    radio_bps: float | None,
    port: str | None,
    patience: float,
    folder: Path | None,
    as_json: bool,
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
        if reset and resume is None:  # which goes back to where the run began
            session.reset()
        summary = session.train(
            samples.x,
            samples.y,
            epochs=epochs,
            limit=limit,
            shuffle=shuffle,
            learning_rate=lr,
            settings=dict(map(_setting, settings)),
            query=query,
            teacher=teacher,
            silent=silent,
            draw=draw,
            keep_outliers=keep_outliers,
            radio=radio,
            save=save,
            save_every=save_every,
            resume=resume,
            eval=(tested.x, tested.y) if tested else None,
            run=folder,
            source=samples.source,
            eval_source=tested.source if tested else "",
            progress=progress,
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
