"""tinyodl rehearse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinyodl.cli.compile_options import click_option
from tinyodl.cli.options import json_option, type_path
from tinyodl.project.options import OPTIONS

if TYPE_CHECKING:
    from tinyodl.cli.output import Output
    from tinyodl.rehearsal.rehearse import OnProgress, Progress

_TAKEN = ("output", "cut", "simplify", "precision", "calibrate", "check", "seed", "outliers")


def _model_options(function: Callable[..., None]) -> Callable[..., None]:
    """A decorator: the options of `compile` that a rehearsal takes too."""
    for name in reversed(("board", "ram", "flash", "time", "energy", *_TAKEN)):
        function = click_option(OPTIONS[name])(function)
    return function


def _samples(*flags: str, help: str, required: bool = False) -> Callable[..., Any]:
    return click.option(*flags, required=required, metavar="DATA.npz", type=type_path, help=help)


@click.command("rehearse")
@click.argument("model", metavar="MODEL.onnx", type=type_path)
@_samples(
    "--data", "data_file", required=True,
    help="Labelled samples in the order of their recording: x (N, *input), y, and groups (N,) "
    "where it is known which recording each is of; CSV too where the input is flat.",
)  # fmt: skip
@_samples(
    "--eval", "eval_file",
    help="Samples of another day. The choice never sees them; the one that is taken is tried on "
    "them in the end.",
)  # fmt: skip
@_samples(
    "--old", "old_file",
    help="Samples that the model was made with: learners may begin from them, and what is still "
    "known of them afterwards is counted.",
)  # fmt: skip
@_model_options
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Processes that try candidates side by side.",
)  # fmt: skip
@click.option(
    "--dask", metavar="ADDRESS",
    help="Try them on a Dask cluster instead, e.g. tcp://scheduler:8786.",
)  # fmt: skip
@click.option(
    "--keep", metavar="DIR", type=type_path,
    help="Where results are kept, one file a candidate, for a second call to go on from.  "
    "[default: rehearsals/MODEL]",
)  # fmt: skip
@click.option(
    "-o", "--write", "config", metavar="FILE", type=type_path,
    help="Write the choice into a file of options, for compile.  [default: tinyodl.toml beside "
    "the model, where there is none yet]",
)  # fmt: skip
@click.option(
    "--html", metavar="FILE", type=type_path,
    help="Where the page goes.  [default: index.html among the results]",
)  # fmt: skip
@json_option
def rehearse_command(
    model: Path,
    data_file: Path,
    eval_file: Path | None,
    old_file: Path | None,
    jobs: int,
    dask: str | None,
    keep: Path | None,
    config: Path | None,
    html: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Try every learner and plan that fits, on samples, and say which one to take.

    Each learns from one part of the samples, in this process and with the C of a board, and is
    asked for the labels of the other part. Ctrl-C keeps what is done; a second call goes on.
    """
    from click.exceptions import Exit

    from tinyodl.cli.output import Output
    from tinyodl.errors import UserError
    from tinyodl.interrupt import Ended, last_signal
    from tinyodl.rehearsal.rehearse import rehearse
    from tinyodl.report import rehearsals
    from tinyodl.report.writing import write_output

    printer = Output(as_json)
    options: dict[str, Any] = {
        name: value if OPTIONS[name].gives is None else OPTIONS[name].gives
        for name, value in given.items()
        if value is not None and value is not False
    }
    if "board" not in options:
        raise UserError("--board is missing: see `tinyodl boards`")
    ms, mj = options.pop("time", None), options.pop("energy", None)
    target = _target(model, config)
    folder = keep or Path("rehearsals") / model.stem
    with _bar(printer) as progress:
        made = rehearse(
            model, options["board"], data_file, eval=eval_file, old=old_file, jobs=jobs, dask=dask,
            ms=ms, mj=mj, folder=folder, progress=progress,
            **{name: value for name, value in options.items() if name != "board"},
        )  # fmt: skip
    page = html or folder / "index.html"
    rehearsals.write_page(made, page)
    rehearsals.print_rehearsal(printer.people, made)
    printer.tell(f"Page: {page}   Results: {folder}")
    if made.choice and target:
        text = rehearsals.config_text(made, options, old_file, target.parent)
        write_output(target, text, "the file of options")
        printer.tell(f"Written: {target}. Next: tinyodl compile {model} -o DIR")
    elif made.choice:
        printer.tell("There is a tinyodl.toml already, which stays; -o FILE writes another.")
    printer.result(rehearsals.rehearsal_values(made))
    if made.stopped:
        raise Ended(last_signal())
    if made.choice is None:
        raise Exit(1)


def _target(model: Path, config: Path | None) -> Path | None:
    """Where the choice is written; None where somebody's file is in the place of the default.

    Raises UserError where somebody's file is in the place that was asked for.
    """
    from tinyodl.errors import UserError
    from tinyodl.project.config import FILE_NAME
    from tinyodl.report.rehearsals import HEADER

    path = config or model.parent / FILE_NAME
    try:
        ours = not path.exists() or path.read_text("utf-8").startswith(HEADER)
    except (OSError, UnicodeDecodeError):
        ours = False
    if ours:
        return path
    if config is None:
        return None
    raise UserError(f"{path} is there already, and no rehearsal wrote it; move it away first")


@contextmanager
def _bar(printer: Output) -> Iterator[OnProgress]:
    """One bar over all candidates, with the time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("rehearsing", markup=False),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        console=printer.errors,
    ) as bars:
        task = bars.add_task("", total=None, told="")

        def show(progress: Progress) -> None:
            left = f", {_time(progress.left)} left" if progress.left else ""
            told = f"{progress.name}{left}"
            bars.update(task, total=progress.total, completed=progress.done, told=told)

        yield show


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
