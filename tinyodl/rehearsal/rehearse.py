"""`tinyodl.rehearse`: every learner and plan that fits, tried on samples, and the one to take.

    made = rehearse(Path("model.onnx"), "nrf52840_dk", Path("day1.npz"), eval=Path("day2.npz"))
    made.choice.taken.options  # for tinyodl.compile

What is tried is in `candidates`, how in `trial`, by which rule one is taken in `choice`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinyodl import __version__
from tinyodl.compiler import changes_of
from tinyodl.errors import UserError
from tinyodl.frontend import Prepared, prepare
from tinyodl.frontend.load import model_bytes
from tinyodl.interrupt import interruptible
from tinyodl.learning.frozen_part import last_node
from tinyodl.rehearsal.candidates import Candidate, Task, candidates
from tinyodl.rehearsal.choice import Choice, choose
from tinyodl.rehearsal.final import Final, finals
from tinyodl.rehearsal.folds import folds_of
from tinyodl.rehearsal.material import Material, halves, load_material, thinned
from tinyodl.rehearsal.problem import Budgets, Problem, with_files
from tinyodl.rehearsal.records import Records
from tinyodl.rehearsal.running import Stop, one_by_one, side_by_side
from tinyodl.rehearsal.trial import Course
from tinyodl.rehearsal.work import Result
from tinyodl.targets.boards import find_board

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options

MOST_KEPT = 300  # old samples that are asked for after each trial

# Options of `compile` that say how samples come in; all others are what is chosen here.
TAKEN = ("output", "cut", "simplify", "precision", "calibrate", "check", "seed", "outliers")


@dataclass(frozen=True)
class Progress:
    """`done` of `total` candidates, `name` the last of them; `left` the seconds that are left."""

    done: int
    total: int
    name: str
    left: float | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Rehearsal:
    """What was tried, and what to take.

    results    of each candidate, in the order in which they are listed
    untried    names of candidates that were not tried, or not with all rates: the time was over
    choice     None where nothing could be tried
    finals     the choice once in recorded order, and beside it the network that learns nothing
    stopped    the user ended it
    """

    problem: Problem
    results: tuple[Result, ...]
    untried: tuple[str, ...]
    choice: Choice | None
    finals: tuple[Final, ...]
    stopped: bool


def rehearse(
    model: Path,
    board: str,
    data: Path,
    *,
    eval: Path | None = None,
    old: Path | None = None,
    ram: int | None = None,
    flash: int | None = None,
    ms: float | None = None,
    mj: float | None = None,
    jobs: int = 1,
    dask: str | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
    course: Course | None = None,
    progress: OnProgress | None = None,
    **options: Any,
) -> Rehearsal:
    """Try all candidates that fit on the samples of `data`; nothing is written but records.

    `eval` has samples from another day: the choice never sees them, and is tried on them in the
    end. `old` has samples that the model knows: half of them for learners to begin from, the others
    to see how much is kept. `ram` and `flash` are budgets in bytes, `ms` and `mj` of a step's
    modelled time and estimated energy. `jobs` is the number of
    processes; `dask` the address of a scheduler instead. After `seconds` no candidate is begun.
    Results are kept in `folder`, and found there by the next call. `options` are those of `TAKEN`.

    Ctrl-C ends it, and what is done counts. Raises ModelError, UserError, DataError, ToolError.
    """
    problem, task, tested = _problem(
        model, board, data, eval, old, Budgets(ram, flash, ms, mj), course or Course(), options
    )
    records = Records(folder, problem.digest())
    listed = candidates(task)
    ends = None if seconds is None else time.monotonic() + seconds
    with interruptible() as wish:

        def stop() -> bool:
            return wish.stop or (ends is not None and time.monotonic() > ends)

        found = dict(_read(records, listed))
        todo = [each for each in listed if each not in found]
        for candidate, result in _timed(_running(problem, todo, stop, jobs, dask), todo, progress):
            records.write(candidate, result)
            found[candidate] = result
        results = tuple(found[each] for each in listed if each in found)
        chosen = choose([tried for result in results for tried in result.tried])
        last = () if chosen is None or wish.stop else finals(problem, tested, chosen.taken)
        untried = tuple(each.name for each in listed if each not in found or not found[each].whole)
        return Rehearsal(problem, results, untried, chosen, last, wish.stop)


def _problem(
    model: Path,
    board: str,
    data: Path,
    eval: Path | None,
    old: Path | None,
    budgets: Budgets,
    course: Course,
    options: Mapping[str, Any],
) -> tuple[Problem, Task, Material | None]:
    """The problem, what its candidates depend on, and the samples of another day."""
    for name in options:
        if name not in TAKEN:
            raise UserError(
                f"a rehearsal chooses {name.replace('_', '-')} by itself; it takes "
                f"{', '.join(TAKEN)} of the options of compile"
            )
    prepared = prepare(model, changes_of(cast("Options", options)))
    inputs = {name: prepared.graph.shape(name) for name in prepared.graph.inputs}
    samples = load_material(data, inputs)
    folds_of(samples.y, samples.groups, course.folds)  # fails here, and not for each candidate
    begin, kept = halves(load_material(old, inputs)) if old else (None, None)
    plain, files = with_files(options)
    problem = Problem(
        version=__version__,
        name=model.name,
        model=model_bytes(model),
        board=find_board(board, model),
        options=plain,
        files=files,
        samples=samples,
        begin=begin,
        kept=thinned(kept, MOST_KEPT) if kept else None,
        budgets=budgets,
        course=course,
    )
    task = Task(
        outputs=_outputs(prepared),
        classes=int(samples.y.max()) + 1,
        source=next(iter(inputs)) if len(inputs) == 1 else "",
        old=old is not None,
    )
    return problem, task, load_material(eval, inputs) if eval else None


def _outputs(prepared: Prepared) -> int:
    """The classes that the model tells apart by itself; 0 where its end is no dense layer."""
    graph = prepared.graph
    last = last_node(graph)
    return graph.tensor(graph.outputs[0]).size if last is not None and last.op == "Gemm" else 0


def _read(records: Records, listed: Sequence[Candidate]) -> Iterator[tuple[Candidate, Result]]:
    for candidate in listed:
        result = records.read(candidate)
        if result is not None:
            yield candidate, result


def _running(
    problem: Problem, todo: Sequence[Candidate], stop: Stop, jobs: int, dask: str | None
) -> Iterator[tuple[Candidate, Result]]:
    if dask is not None:
        from tinyodl.rehearsal.cluster import on_cluster

        return on_cluster(problem, todo, stop, dask)
    if jobs > 1 and len(todo) > 1:
        return side_by_side(problem, todo, stop, min(jobs, len(todo)))
    return one_by_one(problem, todo, stop)


def _timed(
    results: Iterator[tuple[Candidate, Result]],
    todo: Sequence[Candidate],
    progress: OnProgress | None,
) -> Iterator[tuple[Candidate, Result]]:
    """The results, each told; the time left is that of as many trials as are left."""
    begun, done = time.monotonic(), 0
    trials = sum(_trials(each) for each in todo)
    for number, (candidate, result) in enumerate(results, 1):
        done += _trials(candidate)
        if progress is not None:
            left = (time.monotonic() - begun) * (trials - done) / done
            progress(Progress(number, len(todo), candidate.name, left))
        yield candidate, result


def _trials(candidate: Candidate) -> int:
    """The work of a candidate, where to compile it counts as two trials."""
    return 2 + max(1, len(candidate.rates))
