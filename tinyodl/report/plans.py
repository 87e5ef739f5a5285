"""The output of `plan` and `compile`: layers, how they learn, RAM and flash."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinyodl.learning.beside import wanted, words
from tinyodl.learning.learners import rule_of
from tinyodl.learning.losses import expected_labels
from tinyodl.project.manifest import (
    CalibrationRecord,
    Manifest,
    MemoryRecord,
    NodeRecord,
    described_board,
)
from tinyodl.report import choices, saves
from tinyodl.report.columns import table_of
from tinyodl.report.figures import (
    count,
    learns,
    percent,
    shape,
    significant,
    size,
    together,
)
from tinyodl.report.values import limits
from tinyodl.session.energy import estimate_meter
from tinyodl.targets.boards import Board
from tinyodl.text import line


def print_plan(
    console: Console, manifest: Manifest, ram: int | None = None, flash: int | None = None
) -> None:
    """Layers and how they learn, then RAM and flash with the board's totals, in bytes."""
    board = described_board(manifest)
    layers = table_of("layer", "operator", "output", "parameters#", "MACs#", "learns",
                    title=f"{line(manifest.model.source)} on {board.title}")  # fmt: skip
    for layer in manifest.layers:
        style = "dim" if learns(layer) == "frozen" else "green"
        layers.add_row(line(layer.name), layer.op, shape(layer.output_shape),
                       count(layer.parameters), count(layer.macs),
                       Text(learns(layer), style))  # fmt: skip
    console.print(layers)
    if manifest.choice:
        choices.print_choice(console, manifest.choice)
    if manifest.model.notes:
        console.print(f"The file: {line('; '.join(manifest.model.notes))}.")
    for shared in manifest.shared:
        console.print(f"{line(together(shared))}.")
    plan, macs = manifest.plan, manifest.macs
    console.print(
        f"A step is {count(macs.forward)} MACs forward, {count(macs.backward)} backward and "
        f"{count(macs.update)} in updates.\n"
        f"{_of_time(manifest, board)}"
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


def _of_time(manifest: Manifest, board: Board) -> str:
    """How long a step takes; "" on the host, which has no cycles of its own."""
    estimate = manifest.estimate
    if estimate is None or board.on_host:
        return ""
    if estimate.none:
        return f"How long a step takes is not known before a run: {line(estimate.none)}.\n"
    meter = estimate_meter(board)
    step, forward = meter.ms(estimate.step), meter.ms(estimate.forward)
    energy = meter.mj(estimate.step)
    millijoules = f", {significant(energy)} mJ" if energy is not None else ""
    return (
        f"It takes about {significant(step)} ms{millijoules} on the board, {significant(forward)} "
        "ms of that forward. This is an estimate from the layers' shapes, and no board has run it; "
        "`tinyodl profile` counts the built firmware.\n"
    )


def _of_features(manifest: Manifest) -> str:
    """The features computed beside learning."""
    plan = manifest.plan
    there = [words()[feature.name] for feature in wanted(plan) if feature.name in words()]
    outliers = "learns from outliers too" if plan.outliers == "keep" else ""
    named = "; ".join(part for part in (*(each.clause(plan) for each in there), outliers) if part)
    settings = ", ".join(f"{s.name} {s.default:g}" for s in manifest.settings)
    told = f" Settings: {settings}." if settings else ""
    board = f"The board {named}.{told}\n" if named else ""
    return board + "".join(each.line(manifest) for each in there)


def _of_parts(manifest: Manifest) -> str:
    """The maps that are never there as a whole: computed in turns together with their inputs."""
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
    """The losses by quantisation."""
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
    table = table_of(f"{name}, predicted", "bytes#", f"of {size(limit)}#")
    for part, number in memory.parts.items():
        if number:
            table.add_row(part, count(number), percent(number / limit))
    table.add_section()
    table.add_row("total", count(memory.total), percent(memory.total / limit), style="bold")
    return table
