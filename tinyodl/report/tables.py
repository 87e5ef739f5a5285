"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tinyodl.project.manifest import described_board
from tinyodl.report import experiments, groups, remarks, saves
from tinyodl.report.columns import table_of
from tinyodl.report.figures import (
    count,
    online,
    percent,
    points,
    significant,
    size,
)
from tinyodl.report.terminal import Terminal
from tinyodl.runs.log import Run
from tinyodl.runs.metrics import ClassMetrics, Metrics
from tinyodl.runs.record import PHASES, Evaluation
from tinyodl.session.energy import no_cycles
from tinyodl.session.radio import comparison
from tinyodl.targets.boards import Board
from tinyodl.text import line

if TYPE_CHECKING:
    from tinyodl.pio import Check
    from tinyodl.session.flashing import Flashed
    from tinyodl.session.profiling import Profile
    from tinyodl.virtual import Count


# Profiles

_WIDTH = 130  # at least: a narrower terminal shows all of it, on more lines


def print_profile(console: Console, profile: Profile) -> None:
    """The costs of each node of a step, by phase; nodes in the body of a node stand below it."""
    model, board = profile.manifest.model, described_board(profile.manifest)
    what = "A step" if profile.manifest.parameters else "An evaluation"
    table = table_of("node", "operator", "MACs#", "instructions#", "cycles#", "ins/MAC#",
                     "cyc/MAC#", "share#", "code, B#",
                     title=f"{what} of {line(model.source)} on {board.title}")  # fmt: skip
    has_cycles = bool(board.target.cycles)

    def add(name: str, op: str, macs: int, cost: Count, code: int, style: str = "") -> None:
        cycles = cost.cycles if has_cycles else None
        spent = (cost.instructions, cycles)
        rates = (f"{n / macs:.2f}" if macs and n is not None else "" for n in spent)
        table.add_row(
            *(name, op, count(macs) if macs else "", count(cost.instructions), count(cycles)),
            *(*rates, percent(cost.share_of(profile.step)), count(code) if code else ""),
            style=style,
        )

    for phase, total in profile.total.items():
        costs = [cost for cost in profile.nodes if cost.phase == phase]
        for cost in costs:
            node = cost.node
            if cost.count.instructions:  # views have no code
                name = "  " * bool(cost.within) + line(node.name.removesuffix(f".{node.op}"))
                add(name, node.op, 0 if node.body else node.macs, cost.count, cost.code_bytes)
        if total.instructions:
            macs = getattr(profile.manifest.macs, phase)
            add("between nodes", "", 0, profile.between[phase], 0, "dim")
            add(phase, "", macs, total, sum(cost.code_bytes for cost in costs), "bold")
            table.add_section()
    macs = sum(vars(profile.manifest.macs).values())
    add("step", "", macs, profile.step, profile.code_bytes, "bold")
    Terminal(file=console.file, width=max(console.width, _WIDTH)).print(table)
    shared = profile.shared_code
    together = profile.manifest.plan.samples_a_step
    if together > 1:
        console.print(
            f"A step learns from {together} samples: nodes behind the cache run "
            "once for each, and their MACs are those of one."
        )
    called = f", {sum(shared.values()):,} B in {', '.join(shared)}" if shared else ""
    modelled = "cycles modelled" if has_cycles else f"and {no_cycles(board)}"
    console.print(
        f"Built by {profile.compiler}; the sample is {profile.sample}. Instructions are exact, "
        f"{modelled}. Of the code, {profile.code_between:,} B are between nodes{called}."
    )


# Boards and tools


def print_flashed(console: Console, flashed: Flashed) -> None:
    """The firmware that answers, and how close the prediction was."""
    build, manifest = flashed.build, flashed.manifest
    table = table_of("memory", "predicted#", "linked#", "difference#")
    for name, predicted, linked in (
        ("RAM", manifest.ram.total, build.ram_bytes),
        ("flash", manifest.program_flash, build.flash_bytes),
    ):
        table.add_row(name, f"{predicted:,} B", f"{linked:,} B",
                      f"{100 * (predicted - linked) / linked:+.1f} %")  # fmt: skip
    console.print(table)
    learned = (
        f"with weights from its store that learned from {flashed.learned_from:,} samples"
        if flashed.generation
        else "with the weights of the ONNX file"
    )
    boards = {"virtual": "virtual board", "qemu": "board in QEMU", "host": "host build"}
    board = boards.get(flashed.port, f"board on {flashed.port}")
    console.print(f"Built by {build.compiler}. The {board} answers, {learned}.")


def print_boards(console: Console, boards: Iterable[Board]) -> None:
    """The possible values of --board."""
    table = table_of("board", "", "clock#", "RAM#", "flash#", "emulated by")
    for board in boards:
        emulators = board.virtual or (("host",) if board.on_host else ())
        table.add_row(board.name, board.title, f"{board.clock_hz / 1e6:g} MHz",
                      size(board.ram.size), size(board.flash.size),
                      ", ".join(f"--port {name}" for name in emulators))  # fmt: skip
    console.print(table)


def print_checks(console: Console, checks: Iterable[Check]) -> None:
    """The installed tools, and how to get the missing ones."""
    table = table_of("", "tool", "found", "to get it")
    for check in checks:
        mark = Text("ok", "green") if check.found else Text("missing", "red")
        if not check.found and not check.needed:
            mark = Text("absent", "dim")
        table.add_row(mark, check.name, check.found, "" if check.found else check.remedy)
    console.print(table)


# Runs


def print_runs(console: Console, runs: Sequence[Run], *, radio: bool = True) -> None:
    """Runs side by side; then what a step of each takes, and where the figures come from.

    With `radio` also what it would take to send the samples away.
    """
    summaries = [run.summary for run in runs]
    classes = any(s.prequential_accuracy is not None for s in summaries)
    table = table_of("run", "order", "samples#", *(("before#", "after#", "gain#", "online#")
                   if classes else ("loss before#", "loss after#")), "loss#")  # fmt: skip
    for run, name, summary in zip(runs, groups.names(runs), summaries, strict=True):
        order = "recorded" if run.record.shuffle is None else f"seed {run.record.shuffle}"
        status = "unfinished" if summary.status == "running" else summary.status
        accuracies = (
            percent(summary.accuracy_before),
            percent(summary.accuracy_after),
            _gain(summary.accuracy_before, summary.accuracy_after),
            online(summary),
        )
        losses = (significant(summary.loss_before), significant(summary.loss_after))
        table.add_row(
            name if status == "done" else f"{name}\n({status})",
            f"{order} x{run.record.epochs}" if run.record.epochs > 1 else order,
            count(summary.samples),
            *(accuracies if classes else losses),
            significant(summary.mean_loss),
        )
    console.print(table)
    if classes:
        console.print("Gain in points; online: predicted right before learning from it.")
        for sentence in experiments.block_sentences(runs):
            console.print(Text(sentence))
        console.print()
    _print_differences(console, runs)
    for sentence in experiments.spread_sentences(runs):
        console.print(Text(sentence))
    for sentence in remarks.sentences(runs):
        console.print(sentence)
    _print_steps(console, runs)
    _print_replays(console, runs)
    if radio:
        _print_radio(console, runs)
    for run in runs:
        if run.record.metrics:
            _print_metrics(console, run.record.metrics)
        for sentence in saves.of_saves(run.record):
            console.print(sentence)
        if run.steps and not run.record.saved and run.record.status != "harmed":
            console.print(
                f"{run.folder}: the weights are not in the board's store; when it loses power they "
                "are gone."
            )
        if run.record.error:
            style = "bold white on red" if run.record.status == "harmed" else "red"
            console.print(Text(f"{run.folder}: {run.record.error}", style))


def _print_differences(console: Console, runs: Sequence[Run]) -> None:
    """The settings in which the runs differ; nothing where they differ in none."""
    columns = experiments.differences(runs)
    if columns:
        table = table_of("these differ in", *columns)
        for index, name in enumerate(groups.names(runs)):
            table.add_row(Text(name), *(Text(cells[index]) for cells in columns.values()))
        console.print(table)


def _print_steps(console: Console, runs: Sequence[Run]) -> None:
    table = table_of("a step takes", *(f"{phase}\ncycles#" for phase in PHASES),
                   "\ninstructions#", "\nms#", "\nmJ#")  # fmt: skip
    for cost in groups.step_costs(runs):
        cycles = (count(phase.cycles) for phase in cost.phases)
        table.add_row(cost.name, *cycles, count(cost.instructions), significant(cost.ms),
                      significant(cost.mj))  # fmt: skip
    if table.row_count:
        console.print(table)
        for source in dict.fromkeys(run.record.time_source for run in runs):
            console.print(f"Time: {source}.")
        for energy in dict.fromkeys(run.record.energy_source for run in runs):
            if energy:
                console.print(f"Energy: {energy}.")


def _print_replays(console: Console, runs: Sequence[Run]) -> None:
    """The epochs that boards learned from their caches by themselves."""
    table = table_of("from the cache", "epoch#", "samples#", "loss#", "cycles#", "ms#", "mJ#")
    for run, name in zip(runs, groups.names(runs), strict=True):
        for replay in run.record.replays:
            first = name if replay is run.record.replays[0] else ""
            table.add_row(first, count(replay.epoch + 1), count(replay.samples),
                          significant(replay.loss), count(replay.cycles and sum(replay.cycles)),
                          significant(replay.ms), significant(replay.mj))  # fmt: skip
    if table.row_count:
        console.print(table)


def _print_radio(console: Console, runs: Sequence[Run]) -> None:
    """Learning on the board beside sending the samples away."""
    found = [(name, comparison(run)) for run, name in zip(runs, groups.names(runs), strict=True)]
    compared = [(name, each) for name, each in found if each]
    table = table_of("all of the run", "on board\nms#", "\nmJ#", "sent away\nbytes#", "\nms#",
                   "\nmJ#", "mJ sent away /\nmJ on board#")  # fmt: skip
    for name, each in compared:
        table.add_row(name, significant(each.compute_ms), significant(each.compute_mj),
                      count(each.sent_bytes + each.returned_bytes), significant(each.radio_ms),
                      significant(each.radio_mj),
                      significant(each.radio_mj / each.compute_mj))  # fmt: skip
    if compared:
        console.print(table)
        console.print(
            "Sent away: the samples, and the learned weights on their way back; a link without "
            "loss that is there at once, and training elsewhere for nothing."
        )
        for radio in {each.radio.model_dump_json(): each.radio for _, each in compared}.values():
            console.print(
                f"Radio: {radio.supply_v:g} V x {radio.ma:g} mA, {radio.bps:g} bit/s "
                f"({radio.source})."
            )


def _gain(before: float | None, after: float | None) -> Text:
    text = points(before, after)
    return Text(text, "green" if text[0] == "+" else "red" if len(text) > 1 else "dim")


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Accuracy, loss, and the confusion matrix where it fits a terminal."""
    accuracy = f", accuracy {percent(evaluation.accuracy)}" if evaluation.confusion else ""
    console.print(
        f"{count(evaluation.samples)} samples{accuracy}, mean loss {significant(evaluation.loss)}"
    )
    if evaluation.confusion:
        labels = evaluation.labels or range(len(evaluation.confusion))
        _print_confusion(console, evaluation.confusion, labels)


def _print_confusion(
    console: Console, confusion: Sequence[Sequence[int]], labels: Sequence[int]
) -> None:
    """The matrix, where it fits a terminal."""
    if not confusion or len(confusion) > 20:
        return
    table = table_of("label \\ predicted", *(f"{label}#" for label in labels))
    for label, row in enumerate(confusion):
        cells = [
            Text(str(number) if number else ".", "green" if label == column else
                 "red" if number else "dim")
            for column, number in enumerate(row)
        ]  # fmt: skip
        table.add_row(str(labels[label]), *cells)
    console.print(table)


def _print_metrics(console: Console, metrics: Metrics) -> None:
    """The device's counts."""
    if isinstance(metrics, ClassMetrics):
        console.print(
            f"Counted by the device, before learning from each: {count(metrics.samples)} samples, "
            f"accuracy {percent(metrics.accuracy)}, of late {percent(metrics.recent)}, macro-F1 "
            f"{percent(metrics.macro_f1)}."
        )
        _print_confusion(console, metrics.confusion, metrics.labels)
        return
    console.print(
        f"Reconstruction error, counted by the device: {count(metrics.errors)} samples, mean "
        f"{significant(metrics.mean)}, standard deviation {significant(metrics.deviation)}; "
        f"threshold {metrics.rule}: {significant(metrics.threshold)}."
    )
    table = table_of("label", "below#", "above#")
    for label, row in zip(("normal", "anomaly", "none"), metrics.anomalies, strict=True):
        if any(row):
            table.add_row(label, *map(count, row))
    console.print(table)
