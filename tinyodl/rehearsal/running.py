"""Tries candidates one after the other, or in several processes of this computer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from tinyodl.rehearsal.candidates import Candidate
from tinyodl.rehearsal.problem import Problem
from tinyodl.rehearsal.work import Result, carry_out

Stop = Callable[[], bool]
_LOOK_EVERY = 0.5  # seconds


def one_by_one(
    problem: Problem, todo: Sequence[Candidate], stop: Stop
) -> Iterator[tuple[Candidate, Result]]:
    """The results in the order of the candidates, until `stop` says to end."""
    for candidate in todo:
        if stop():
            return
        yield candidate, carry_out(problem, candidate, stop)


def side_by_side(
    problem: Problem, todo: Sequence[Candidate], stop: Stop, jobs: int
) -> Iterator[tuple[Candidate, Result]]:
    """The results as they come, from `jobs` processes; when `stop` says so these are ended."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (problem,))
    try:
        waiting: dict[Future[Result], Candidate] = {pool.submit(_work, c): c for c in todo}
        while waiting and not stop():
            done, _ = wait(waiting, _LOOK_EVERY, FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


_problem: Problem | None = None


def _begin(problem: Problem) -> None:
    """Of each process: it keeps the problem, and leaves Ctrl-C to the process that started it."""
    global _problem
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _problem = problem


def _work(candidate: Candidate) -> Result:
    assert _problem is not None
    return carry_out(_problem, candidate)
