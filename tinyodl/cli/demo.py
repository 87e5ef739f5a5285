"""tinyodl demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from tinyodl.cli.options import type_path

if TYPE_CHECKING:
    from tinyodl.runs.summary import RunSummary


@click.command("demo")
@click.option("--out", type=type_path, default=Path("tinyodl-demo"), show_default=True,
              metavar="DIR", help="Where the project, the runs and the report go.")  # fmt: skip
def demo(out: Path) -> None:
    """Watch a virtual board learn a new person: compile, build, boot, learn, report. No hardware.

    Uses the watch example, which comes with tinyodl.
    \f
    Long, because it is what the user reads, from the first line to the last.
    """
    from tinyodl import demo as watch
    from tinyodl.cli.output import Output
    from tinyodl.interrupt import Ended, last_signal
    from tinyodl.report import plans, tables, write_report
    from tinyodl.report.figures import mean_percent, percent, significant, size

    output = Output()
    say = output.styled
    say(
        "[bold]A smartwatch meets a new person.[/bold] The model tells seven shoulder exercises "
        f"apart. It learned from persons 1 to 7; person {watch.PERSON} is new to it.\n"
    )
    sgd, rls = out / "sgd", out / "rls"
    say("[bold]1. Compile[/bold] the ONNX file to firmware whose last layer learns.\n")
    manifest = watch.compile_watch(sgd, watch.SGD)
    plans.print_plan(output.people, manifest)
    say("[bold]2. Build[/bold] it and boot it on a virtual board.\n")
    with output.working("Building"):
        flashed = watch.boot_watch(sgd)
    tables.print_flashed(output.people, flashed)
    say(
        f"\n[bold]3. Learn[/bold] from person {watch.PERSON}: one pass over the first half of each "
        "recording, one window at a time. Tested before and after on the second halves. First in "
        "shuffled orders, then as it was recorded: one exercise after the other.\n"
    )
    with output.bars() as bar:
        runs = watch.learn(sgd, watch.SEEDS, out / "runs", bar)
    whole = len(runs) == len(watch.SEEDS)
    if whole:
        say(
            "\n[bold]4. Another learner[/bold] for the recorded order: --learner rls fits the last "
            "layer to all samples so far by recursive least squares. It begins at zero.\n"
        )
        with output.working("Compiling and building"):
            watch.compile_watch(rls, watch.RLS)
            watch.boot_watch(rls)
        with output.bars() as bar:
            runs += watch.learn(rls, [None], out / "runs", bar)
    page = out / "report.html"
    write_report(runs, page)
    tables.print_runs(output.people, runs, radio=False)
    if not whole or len(runs) == len(watch.SEEDS):
        output.tell(f"\nReport so far: {page}")
        raise Ended(last_signal())
    *shuffled, recorded, fitted = (run.summary for run in runs)
    after = [run.accuracy_after for run in shuffled if run.accuracy_after is not None]
    step = shuffled[0]
    say(
        "\n[bold]What came out[/bold]\n\n"
        f"Shuffled: accuracy {percent(step.accuracy_before)} before, "
        f"[bold green]{mean_percent(after)} after[/bold green] (mean of {len(after)} seeds).\n\n"
        f"In recorded order, SGD: {percent(recorded.accuracy_before)} before, "
        f"[bold red]{percent(recorded.accuracy_after)} after[/bold red]. A person does one "
        "exercise many times in a row, so the last layer leans towards the latest block and "
        f"forgets the others. {_kept(recorded)}\n\n"
        "In recorded order, recursive least squares, begun at zero: "
        f"[bold green]{percent(fitted.accuracy_after)} after[/bold green]. Every order "
        "gives the same, but for rounding.\n\n"
        f"RAM: {size(flashed.build.ram_bytes)} linked, {size(manifest.ram.total)} predicted. "
        f"Flash: {size(flashed.build.flash_bytes)}.\n"
        f"A step: {significant(step.ms_per_step)} ms ({step.time_source}), "
        f"{significant(step.mj_per_step)} mJ (estimated, not measured).\n"
    )
    output.tell(f"Report: {page} (open it in a browser)")


def _kept(summary: RunSummary) -> str:
    """What the board keeps of a run that learned badly."""
    if summary.status != "harmed":
        return ""
    return (
        "tinyodl calls such a run harmed: the board is back at the weights of before it, and "
        "stream-train ends with exit code 1."
    )
