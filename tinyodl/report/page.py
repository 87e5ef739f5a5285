"""One self-contained HTML page: style sheet and drawings inside, nothing fetched, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from tinyodl import __version__
from tinyodl.project.manifest import Manifest, MemoryRecord, described_board
from tinyodl.report import curves, experiments, figures, groups, histogram, memory_map, remarks
from tinyodl.report.choices import pictures
from tinyodl.report.writing import write_output
from tinyodl.resources import TEMPLATES
from tinyodl.runs.log import Run
from tinyodl.runs.metrics import ClassMetrics, ErrorMetrics
from tinyodl.runs.record import PHASES, Evaluation
from tinyodl.runs.summary import RunSummary
from tinyodl.session.radio import comparison
from tinyodl.targets.boards import Board, board_names
from tinyodl.text import printable

_NUMBERS_UP_TO = 20  # classes for which a confusion matrix shows its counts


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it; `color` is its series in the style sheet."""

    name: str
    color: int
    run: Run
    summary: RunSummary


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix; `heat[label][predicted]` is the share of that label's samples."""

    title: str
    evaluation: Evaluation
    heat: tuple[tuple[float, ...], ...]
    numbers: bool


@dataclass(frozen=True)
class Share:
    """A part of a memory, as a share of the whole."""

    name: str
    bytes: int
    share: float


@dataclass(frozen=True)
class ProjectView:
    """A project's network and memory."""

    manifest: Manifest
    board: Board | None
    drawing: Markup
    ram: tuple[Share, ...]
    flash: tuple[Share, ...]

    @property
    def pictures(self) -> list[Markup]:
        """How --update auto chose; [] where it did not."""
        choice = self.manifest.choice
        return [Markup(drawn) for drawn in pictures(choice)] if choice else []

    @property
    def place(self) -> str:
        """The board's name for people."""
        return self.board.title if self.board else self.manifest.board


def write_report(runs: Sequence[Run], path: Path) -> None:
    """Write the page about these runs. Raises TinyodlError when the file cannot be written."""
    write_output(path, report_html(runs), "the page")


def write_plan(manifest: Manifest, path: Path) -> None:
    """Write the page about a plan: layers, memory map, RAM and flash by part."""
    project = _project(manifest)
    title = f"Plan: {manifest.model.source} on {project.place}"
    write_output(path, _render(title, [], [project]), "the page")


def report_html(runs: Sequence[Run]) -> str:
    """The page as text; the same text for the same runs."""
    manifests = list({run.manifest.model_dump_json(): run.manifest for run in runs}.values())
    models = " and ".join(dict.fromkeys(manifest.model.source for manifest in manifests))
    projects = [_project(manifest) for manifest in manifests]
    places = " and ".join(dict.fromkeys(project.place for project in projects))
    return _render(f"{models} on {places}", runs, projects)


def _render(title: str, runs: Sequence[Run], projects: list[ProjectView]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = groups.names(runs)
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle="; ".join(dict.fromkeys(map(_experiment, runs))),
        version=__version__,
        style=Markup((TEMPLATES / "report" / "style.css").read_text(encoding="utf-8")),
        figures=figures,
        runs=[
            RunView(name, index % curves.SERIES_COLORS, run, run.summary)
            for index, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
        costs=groups.step_costs(runs),
        compared=[(n, c) for r, n in zip(runs, names, strict=True) if (c := comparison(r))],
        differences=experiments.differences(runs),
        averages=experiments.spread_sentences(runs),
        blocks=experiments.block_sentences(runs),
        sentences=remarks.sentences(runs),
        curves=[Markup(svg) for svg in _curves(runs, names) if svg],
        matrices=_matrices(runs, names),
        counted=_counted(runs, names),
        histograms=_histograms(runs, names),
        projects=projects,
        phases=PHASES,
    )


def _shown(value: object) -> object:
    """Every value that a template shows; markup of ours passes as it is."""
    return value if isinstance(value, Markup) else printable(str(value))


def _experiment(run: Run) -> str:
    tested = f", tested on {run.record.eval_data}" if run.record.eval_data else ""
    return f"{run.record.data}{tested}, {run.record.started[:10]}"


def _curves(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    return [
        curves.draw(
            "Right before learning from it, %", curves.accuracy_curves(runs, names), top=100
        ),
        curves.draw("Loss before the update", curves.loss_curves(runs, names)),
    ]


def _matrices(runs: Sequence[Run], names: Sequence[str]) -> list[Matrix]:
    """Before, once where several runs began alike, then after each run."""
    found: dict[Evaluation, Matrix] = {}
    after = []
    for run, name in zip(runs, names, strict=True):
        before = run.record.before
        if before is not None and before not in found:
            title = "before" if len(runs) == 1 else f"before ({name})"
            found[before] = _matrix(title, before)
        if run.record.after is not None:
            title = "after" if len(runs) == 1 else f"after {name}"
            after.append(_matrix(title, run.record.after))
    before_all = list(found.values())
    if len(before_all) == 1 and len(runs) > 1:
        before_all = [_matrix("before, all runs", before_all[0].evaluation)]
    return [matrix for matrix in [*before_all, *after] if matrix.evaluation.confusion]


@dataclass(frozen=True)
class Counted:
    """A device's confusion matrix, and the figures computed from it."""

    matrix: Matrix
    metrics: ClassMetrics


def _counted(runs: Sequence[Run], names: Sequence[str]) -> list[Counted]:
    found = []
    for run, name in zip(runs, names, strict=True):
        metrics = run.record.metrics
        if isinstance(metrics, ClassMetrics) and metrics.samples:
            evaluation = Evaluation(
                samples=metrics.samples,
                loss=None,
                accuracy=metrics.accuracy,
                confusion=metrics.confusion,
                labels=metrics.labels,
            )
            title = "while learning" if len(runs) == 1 else name
            found.append(Counted(_matrix(title, evaluation), metrics))
    return found


@dataclass(frozen=True)
class ErrorView:
    """A device's counts of its reconstructions; `drawing` is "" if there were none."""

    name: str
    metrics: ErrorMetrics
    drawing: Markup

    @property
    def by_label(self) -> list[tuple[str, tuple[int, int]]]:
        """The samples below and above the threshold, of the labels that there were."""
        rows = zip(("normal", "anomaly", "none"), self.metrics.anomalies, strict=True)
        return [(label, row) for label, row in rows if any(row)]


def _histograms(runs: Sequence[Run], names: Sequence[str]) -> list[ErrorView]:
    found = []
    for run, name in zip(runs, names, strict=True):
        metrics = run.record.metrics
        if isinstance(metrics, ErrorMetrics):
            title = "Errors learned from" if len(runs) == 1 else f"Errors learned from, {name}"
            found.append(ErrorView(name, metrics, Markup(histogram.draw(title, metrics))))
    return found


def _matrix(title: str, evaluation: Evaluation) -> Matrix:
    counts = evaluation.confusion or ()
    heat = tuple(tuple(count / max(sum(row), 1) for count in row) for row in counts)
    return Matrix(title, evaluation, heat, len(counts) <= _NUMBERS_UP_TO)


def _project(manifest: Manifest) -> ProjectView:
    known = manifest.board_file or manifest.board in board_names()
    board = described_board(manifest) if known else None
    return ProjectView(
        manifest,
        board,
        Markup(memory_map.draw(manifest)),
        _shares(manifest.ram, board.ram.size if board else manifest.ram.total),
        _shares(manifest.flash, board.flash.size if board else manifest.flash.total),
    )


def _shares(memory: MemoryRecord, whole: int) -> tuple[Share, ...]:
    whole = max(whole, memory.total, 1)
    parts = [Share(name, size, size / whole) for name, size in memory.parts.items() if size]
    free = whole - memory.total
    return (*parts, Share("free", free, free / whole)) if free else tuple(parts)
