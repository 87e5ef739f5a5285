"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinyodl.boards import Board
from tinyodl.energy import no_cycles
from tinyodl.learning.beside import wanted, words
from tinyodl.learning.learners import rule_of
from tinyodl.losses import expected_labels
from tinyodl.manifest import CalibrationRecord, Manifest, MemoryRecord, NodeRecord, described_board
from tinyodl.metrics import ClassMetrics, Metrics
from tinyodl.radio import comparison
from tinyodl.report import experiments, groups, saves, watching
from tinyodl.report.figures import (
    count,
    learns,
    online,
    percent,
    points,
    shape,
    significant,
    size,
    together,
)
from tinyodl.report.terminal import Terminal
from tinyodl.report.values import limits
from tinyodl.run_record import PHASES, Evaluation
from tinyodl.runlog import Run
from tinyodl.text import line

if TYPE_CHECKING:
    from tinyodl.flashing import Flashed
    from tinyodl.pio import Check
    from tinyodl.profiling import Profile
    from tinyodl.virtual import Count


def _table(*columns: str, title: str | None = None) -> Table:
    """Columns whose names end in "#" are numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold",
                  pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")  # fmt: skip
    for index, column in enumerate(columns):
        number = column.endswith("#")
        table.add_column(
            column.rstrip("#"), justify="right" if number else "left", no_wrap=number or index == 0
        )
    return table


# Plans


def print_plan(
    console: Console, manifest: Manifest, ram: int | None = None, flash: int | None = None
) -> None:
    """Layers and what learns, then RAM and flash against what there is, in bytes."""
    board = described_board(manifest)
    layers = _table("layer", "operator", "output", "parameters#", "MACs#", "learns",
                    title=f"{line(manifest.model.source)} on {board.title}")  # fmt: skip
    for layer in manifest.layers:
        style = "dim" if learns(layer) == "frozen" else "green"
        layers.add_row(line(layer.name), layer.op, shape(layer.output_shape),
                       count(layer.parameters), count(layer.macs),
                       Text(learns(layer), style))  # fmt: skip
    console.print(layers)
    for shared in manifest.shared:
        console.print(f"{line(together(shared))}.")
    plan, macs = manifest.plan, manifest.macs
    console.print(
        f"A step is {count(macs.forward)} MACs forward, {count(macs.backward)} backward and "
        f"{count(macs.update)} in updates.\n"
        f"Loss {plan.loss}, {rule_of(plan).says(plan)}.\n{expected_labels(manifest)}\n"
        f"{_of_features(manifest)}"
        f"{_of_int8(manifest)}"
        f"Activations and gradients take {count(manifest.arena.bytes)} B; the most that is alive "
        f"at once is {count(manifest.arena.lower_bound)} B, and no placement needs less.\n"
        f"{_of_parts(manifest)}"
    )
    for sentence in saves.of_resuming(manifest, board):
        console.print(sentence)
    if manifest.model.calibration:
        console.print(_calibration(manifest.model.calibration, plan.loss != "mse"))
    ram_limit, flash_limit = limits(manifest, ram, flash)
    console.print(_memory("RAM", manifest.ram, ram_limit))
    console.print(_memory("flash", manifest.flash, flash_limit))
    for name, need, limit in (
        ("RAM", manifest.ram.total, ram_limit),
        ("flash", manifest.flash.total, flash_limit),
    ):
        if need > limit:
            console.print(Text(f"Does not fit: {need:,} B of {name}, {limit:,} B there.", "red"))


def _of_features(manifest: Manifest) -> str:
    """What is computed beside the learning."""
    plan = manifest.plan
    there = [words()[feature.name] for feature in wanted(plan) if feature.name in words()]
    outliers = "learns from outliers too" if plan.outliers == "keep" else ""
    named = "; ".join(part for part in (*(each.clause(plan) for each in there), outliers) if part)
    settings = ", ".join(f"{s.name} {s.default:g}" for s in manifest.settings)
    told = f" Settings: {settings}." if settings else ""
    board = f"The board {named}.{told}\n" if named else ""
    return board + "".join(each.line(manifest) for each in there)


def _of_parts(manifest: Manifest) -> str:
    """What is computed in turn with what it is made from: maps that are never there as a whole."""
    lines = []
    if manifest.model.input_by_rows:
        lines.append(
            "The sample is worked on row by row as it arrives: it is never in memory as a whole.\n"
        )
    for op, how in (("Rows", "Row by row"), ("ByChannels", "A few channels at a time")):
        nodes = [node for node in manifest.schedule if node.op == op]
        if nodes:
            held = (f"{line(node.name)} (in {count(_held(node, manifest))} B)" for node in nodes)
            lines.append(f"{how}, nothing twice: {', '.join(held)}.\n")
    return "".join(lines)


def _held(node: NodeRecord, manifest: Manifest) -> int:
    """Bytes of the rings or planes of the maps inside a node, which no other node reads."""
    inside = set(node.outputs).difference(*(other.inputs for other in manifest.schedule))
    if manifest.model.input_by_rows:
        inside |= {manifest.model.input_name}.intersection(node.inputs)
    return sum(tensor.bytes for tensor in manifest.arena.tensors if tensor.name in inside)


def _of_int8(manifest: Manifest) -> str:
    """How int8 weights learn, where any do."""
    if not any(p.dtype == "int8" and p.origin for p in manifest.parameters):
        return ""
    masters = {"none": "no master copy", "int16": "int16 masters", "float32": "float32 masters"}
    scaling = "with" if manifest.plan.scaling else "without"
    return f"int8 weights learn {scaling} scaling, {masters[manifest.plan.master]}.\n"


def _calibration(calibration: CalibrationRecord, classes: bool) -> str:
    """What quantising cost."""
    steps = "" if calibration.steps is None else f" ({significant(calibration.steps)} steps)"
    same = percent(calibration.agreement) if classes and calibration.agreement is not None else ""
    real = ", ".join(calibration.real_operators)
    return (
        f"int8, calibrated with {count(calibration.count)} samples of {line(calibration.samples)}: "
        f"the output is off by {percent(calibration.error)}{steps} on average"
        + (f", its largest element is the same for {same}" if same else "")
        + (f"; {real} stays float32" if real else "")
        + ".\n"
    )


def _memory(name: str, memory: MemoryRecord, limit: int) -> Table:
    table = _table(f"{name}, predicted", "bytes#", f"of {size(limit)}#")
    for part, number in memory.parts.items():
        if number:
            table.add_row(part, count(number), percent(number / limit))
    table.add_section()
    table.add_row("total", count(memory.total), percent(memory.total / limit), style="bold")
    return table


# Profiles

_WIDTH = 130  # at least: a narrower terminal shows all of it, on more lines


def print_profile(console: Console, profile: Profile) -> None:
    """What each node of a step took, by phase; what is in the body of a node stands below it."""
    model, board = profile.manifest.model, described_board(profile.manifest)
    what = "A step" if profile.manifest.parameters else "An evaluation"
    table = _table("node", "operator", "MACs#", "instructions#", "cycles#", "ins/MAC#", "cyc/MAC#",
                   "share#", "code, B#",
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
    if profile.manifest.plan.replay > 1:
        console.print(
            f"A step learns from {profile.manifest.plan.replay} samples: nodes behind the cache "
            "run once for each, and their MACs are those of one."
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
    table = _table("memory", "predicted#", "linked#", "difference#")
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
    """What can be given as --board."""
    table = _table("board", "", "clock#", "RAM#", "flash#", "emulated by")
    for board in boards:
        emulators = board.virtual or (("host",) if board.on_host else ())
        table.add_row(board.name, board.title, f"{board.clock_hz / 1e6:g} MHz",
                      size(board.ram.size), size(board.flash.size),
                      ", ".join(f"--port {name}" for name in emulators))  # fmt: skip
    console.print(table)


def print_checks(console: Console, checks: Iterable[Check]) -> None:
    """What is installed, and how to get what is not."""
    table = _table("", "tool", "found", "to get it")
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
    table = _table("run", "order", "samples#", *(("before#", "after#", "gain#", "online#")
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
    for sentence in watching.sentences(runs):
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
        table = _table("these differ in", *columns)
        for index, name in enumerate(groups.names(runs)):
            table.add_row(Text(name), *(Text(cells[index]) for cells in columns.values()))
        console.print(table)


def _print_steps(console: Console, runs: Sequence[Run]) -> None:
    table = _table("a step takes", *(f"{phase}\ncycles#" for phase in PHASES),
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
    table = _table("from the cache", "epoch#", "samples#", "loss#", "cycles#", "ms#", "mJ#")
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
    table = _table("all of the run", "on board\nms#", "\nmJ#", "sent away\nbytes#", "\nms#",
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
    table = _table("label \\ predicted", *(f"{label}#" for label in labels))
    for label, row in enumerate(confusion):
        cells = [
            Text(str(number) if number else ".", "green" if label == column else
                 "red" if number else "dim")
            for column, number in enumerate(row)
        ]  # fmt: skip
        table.add_row(str(labels[label]), *cells)
    console.print(table)


def _print_metrics(console: Console, metrics: Metrics) -> None:
    """What the device has counted."""
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
    table = _table("label", "below#", "above#")
    for label, row in zip(("normal", "anomaly", "none"), metrics.anomalies, strict=True):
        if any(row):
            table.add_row(label, *map(count, row))
    console.print(table)
