"""Runs as a sheet: one row each, every setting and every figure in a column of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tinyodl.report.groups import names
from tinyodl.report.writing import write_output
from tinyodl.runs.log import Run
from tinyodl.text import cell

_RECORD = (
    *("started", "finished", "project", "model_id", "board", "port", "data", "data_digest"),
    *("eval_data", "eval_digest", "epochs", "limit", "shuffle", "learning_rate", "draw"),
    *("steps_before", "clock_hz", "stack_used"),
)
_SUMMARY = (
    *("status", "error", "samples", "accuracy_before", "accuracy_after", "loss_before"),
    *("loss_after", "prequential_accuracy", "labels_in_blocks", "label_changes"),
    *("accuracy_at_changes", "mean_loss", "ms_per_step", "mj_per_step", "time_source"),
    *("energy_source", "saved", "asked", "answered", "held_back", "bounded"),
)


def write_sheet(runs: Sequence[Run], path: Path) -> None:
    """Write the sheet. Raises TinyodlError when the file cannot be written."""
    write_output(path, as_csv(runs), "the sheet")


def as_csv(runs: Sequence[Run]) -> str:
    """The sheet as CSV text with a header; unknown figures are empty cells.

    Shares are from 0 to 1, times in ms, energies in mJ, memory in bytes.
    """
    rows = [_row(run, name) for run, name in zip(runs, names(runs), strict=True)]
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    sheet = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    sheet.writeheader()
    for row in rows:
        sheet.writerow({k: cell(v) if isinstance(v, str) else v for k, v in row.items()})
    return text.getvalue()


def _row(run: Run, name: str) -> dict[str, object]:
    summary, manifest = run.summary, run.manifest
    row: dict[str, object] = {"run": name}
    row |= {field: getattr(summary, field) for field in _SUMMARY}
    row |= {field: getattr(run.record, field) for field in _RECORD}
    row["model"] = manifest.model.source
    row |= manifest.plan.model_dump(mode="json", exclude={"layers", "learning_rate"})
    row["layers"] = "; ".join(
        f"{layer.name}: {layer.updates}" for layer in manifest.layers if layer.updates != "none"
    )
    for phase, cycles in (summary.cycles or {}).items():
        row[f"{phase}_cycles"] = cycles
    for phase, counted in (summary.instructions or {}).items():
        row[f"{phase}_instructions"] = counted
    linked = run.record.linked
    row["ram_bytes"] = linked.ram_bytes if linked else manifest.ram.total
    row["flash_bytes"] = linked.flash_bytes if linked else manifest.flash.total
    row["memory"] = "linked" if linked else "predicted"
    return row | {f"set_{key}": value for key, value in run.record.settings.items()}
