"""Tries one candidate: the same function here, in a process beside, and on another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyodl import __version__
from tinyodl.compiler import Compilation, compilation
from tinyodl.errors import DataError, ModelError, UserError
from tinyodl.graph import Phase
from tinyodl.host_run.network import HostNetwork
from tinyodl.rehearsal.candidates import Candidate
from tinyodl.rehearsal.problem import Problem
from tinyodl.rehearsal.trial import Course, Outcome, try_out
from tinyodl.targets.firmware import C_FLAGS

_QUICK_UP_TO = (
    40_000_000_000  # multiply-accumulates; -O2 pays from here on (benchmarks/rehearse.py)
)
_RECORDED = Course(order="recorded", seeds=(0,))

NOT_KNOWN = "there is no estimate of its "  # a reason not to try a candidate


@dataclass(frozen=True)
class Tried:
    """A candidate with one learning rate, and what came of it.

    name      in words, with the rate
    options   of `tinyodl.compile` over the user's own, the rate included
    started   it began from old samples
    shuffled  the outcome in shuffled order, with old samples kept where there are some
    recorded  the outcome in the order of recording, on the same held-out parts
    ram       bytes on the board, of all there is; likewise flash
    macs      multiply-accumulates of a step
    ms, mj    modelled time and estimated energy of a step; None where there is no estimate
    """

    name: str
    candidate: str
    options: Mapping[str, Any]
    started: bool
    shuffled: Outcome
    recorded: Outcome
    ram: int
    flash: int
    macs: int
    ms: float | None = None
    mj: float | None = None


@dataclass(frozen=True)
class Result:
    """What came of a candidate: a trial for each rate, or the reason why there is none.

    whole    all rates were tried; otherwise time or the user ended it
    seconds  processor time it took, the compiler's not included
    """

    candidate: str
    tried: tuple[Tried, ...] = ()
    why_not: str = ""
    whole: bool = True
    seconds: float = 0.0


def _never() -> bool:
    return False


def carry_out(problem: Problem, candidate: Candidate, stop: Callable[[], bool] = _never) -> Result:
    """Compiles a candidate and tries it with each of its rates.

    `stop` is asked before each rate whether to end. A candidate that does not suit the network or
    does not fit is a result, not an error. Raises ToolError where there is no compiler.
    """
    if problem.version != __version__:
        raise UserError(
            f"this process has tinyodl {__version__}, and the rehearsal was begun by "
            f"{problem.version}: install the same version everywhere"
        )
    begun = time.process_time()
    with problem.on_disk() as (model, options):
        options |= candidate.options
        if candidate.started:
            options["start"] = problem.started_from(model.parent)
        try:
            made = compilation(model, problem.board, options)  # type: ignore[arg-type]
        except (UserError, ModelError, DataError) as error:
            return Result(candidate.name, why_not=str(error).replace(f"{model.parent}/", ""))
    too_large = _too_large(problem, made)
    if too_large:
        return Result(candidate.name, why_not=too_large)
    tried: list[Tried] = []
    rates = candidate.rates or (None,)
    try:
        with HostNetwork.of(made.lowered, flags=_flags(problem, candidate, made)) as net:
            for rate in rates:
                if tried and stop():
                    break
                tried.append(tried_with(problem, candidate, made, net, rate))
    except DataError as error:  # a label that its outputs do not have
        return Result(candidate.name, why_not=str(error))
    seconds = time.process_time() - begun
    return Result(candidate.name, tuple(tried), "", len(tried) == len(rates), seconds)


def tried_with(
    problem: Problem, candidate: Candidate, made: Compilation, net: HostNetwork, rate: float | None
) -> Tried:
    """The trial of a candidate with one rate, on the network that it was compiled to."""
    samples, kept = problem.samples, problem.kept
    x, y, groups = samples.x, samples.y, samples.groups
    old = (kept.x, kept.y) if kept else None
    cycles = made.lowered.cycles
    name = candidate.name if rate is None else f"{candidate.name}, rate {rate:g}"
    course = Course("recorded", problem.course.passes, (0,), problem.course.folds)
    return Tried(
        name=name,
        candidate=candidate.name,
        options=dict(candidate.options) | ({} if rate is None else {"learning_rate": rate}),
        started=candidate.started,
        shuffled=try_out(net, x, y, groups=groups, rate=rate, old=old, course=problem.course),
        recorded=try_out(net, x, y, groups=groups, rate=rate, course=course),
        ram=made.lowered.ram_bytes,
        flash=made.lowered.flash_bytes,
        macs=sum(made.lowered.macs.values()),
        ms=None if cycles is None else made.lowered.meter.ms(cycles.step),
        mj=None if cycles is None else made.lowered.meter.mj(cycles.step),
    )


def _too_large(problem: Problem, made: Compilation) -> str:
    """Why a candidate does not fit; "" where it does."""
    board, budgets, lowered = problem.board, problem.budgets, made.lowered
    for memory, needed, there, budget in (
        ("RAM", lowered.ram_bytes, board.ram.size, budgets.ram),
        ("flash", lowered.flash_bytes, board.flash.size, budgets.flash),
    ):
        limit = min(there, budget or there)
        if needed > limit:
            return f"needs {needed:,} B of {memory}, and there are {limit:,} B"
    cycles, meter = lowered.cycles, lowered.meter
    for what, unit, of, most in (
        ("time", "ms", meter.ms, budgets.ms),
        ("energy", "mJ", meter.mj, budgets.mj),
    ):
        takes = None if cycles is None else of(cycles.step)
        if most is not None and takes is None:
            return f"{NOT_KNOWN}{what}: {lowered.no_cycles}"
        if most is not None and takes is not None and takes > most:
            return f"a step takes {takes:.3g} {unit}, and may take {most:g} {unit}"
    return ""


def _flags(problem: Problem, candidate: Candidate, made: Compilation) -> tuple[str, ...]:
    """The compiler's options: of the same bits, those that take less time with the trials."""
    course, macs = problem.course, made.lowered.macs
    passes = (len(course.seeds) * course.passes + 1) * len(problem.samples) * course.folds
    asked = passes * len(candidate.rates or (None,))
    if asked * sum(macs[phase] for phase in Phase) > _QUICK_UP_TO:
        return C_FLAGS
    return tuple("-O1" if flag == "-O2" else flag for flag in C_FLAGS)
