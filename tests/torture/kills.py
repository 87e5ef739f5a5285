"""Boards and hosts that are killed at any moment of a run, and go on.

A run is streamed to the host build of a small network, in each of the ways to learn. The program
that is the board (SIGKILL; its flash is a file), or the process that streams, is killed at random
times, as often as it takes. What was cut off is resumed, by itself or with `resume`, and at the end
every parameter has the bits of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.projects import built, two_layers
from tinyodl.errors import TinyodlError
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session

WHAT = "a board or a host is killed at any moment of a run; it goes on to the same bits of weights"

PLANS: dict[str, dict[str, Any]] = {
    "sgd": {"update": "full"},
    "momentum": {"update": "full", "optimizer": "momentum"},
    "adam": {"update": "full", "optimizer": "adam"},
    "batch of 4": {"update": "full", "batch": 4},
    "rls": {"learner": "rls"},
    "online": {"learner": "online", "max_classes": 6},
    "transfer": {"learner": "transfer", "cache": 16},
    "transfer in flash": {"learner": "transfer", "cache": 16, "cache_memory": "flash"},
    "guard": {"update": "last", "guard": "5"},
    "query and drift": {"learner": "rls", "query": "auto", "drift": True},
}
SAMPLES, EVERY = 60, 7
KILLS = 3  # of a trial, at most
LONGEST = 60.0  # seconds that a run may take at all


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points, (N, 8) and N labels, in a random order."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, SAMPLES)
    x = random.normal(size=(3, 8))[y] * 2 + random.normal(size=(SAMPLES, 8))
    return x.astype(np.float32), y


def project(name: str, folder: Path) -> Path:
    """The host build of two dense layers that learn as the plan of this name says."""
    out = folder / name.replace(" ", "-")
    return built(two_layers(folder / "model.onnx"), "host", out, **PLANS[name])


def options(name: str, **more: Any) -> dict[str, Any]:
    """How a plan is streamed."""
    x, y = samples()
    plan = PLANS[name]
    return {
        "eval": (x[:10], y[:10]),
        "epochs": 3 if "cache" in plan else 1,
        "query": "query" in plan,
        "shuffle": 1,
        "save": "always",
        **more,
    }


def state(session: Session) -> str:
    """A digest of every parameter, the cache and all that learning reads among them."""
    digest = hashlib.sha256()
    for record in session.manifest.parameters:
        digest.update(session.client.read_parameter(record.index).tobytes())
    return digest.hexdigest()


def streamed(project: Path, name: str, run: Path, **more: Any) -> str:
    """What the store has after a whole run of the samples."""
    with Session(project, "host") as session:
        session.train(*samples(), run=run, **options(name, **more))
    return stored(project)


def stored(project: Path) -> str:
    """The state that a board starts with."""
    with Session(project, "host") as session:
        return state(session)


def empty_store(project: Path) -> None:
    (project / "flash.bin").unlink(missing_ok=True)


# Trials


def kill_boards(project: Path, name: str, run: Path, after: list[float]) -> tuple[str, int]:
    """(state, kills) of a run whose board is killed so many seconds after its start, each time."""
    killed = 0
    with Session(project, "host") as session:
        begun, over = threading.Event(), threading.Event()

        def killer() -> None:
            nonlocal killed
            begun.wait()
            for seconds in after:
                if over.wait(seconds):
                    return
                with contextlib.suppress(AttributeError, OSError):
                    session._transport._process.kill()
                    killed += 1

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            session.train(
                *samples(),
                run=run,
                progress=lambda _: begun.set(),
                **options(name, save_every=EVERY),
            )
        finally:
            over.set()
            begun.set()
            thread.join()
    return stored(project), killed


def kill_hosts(project: Path, name: str, run: Path, after: list[float]) -> tuple[str, int]:
    """The same where the process that streams is killed, and another one resumes its run."""
    killed = 0
    context = multiprocessing.get_context("fork")
    for number, seconds in enumerate([*after, LONGEST]):
        more: dict[str, Any] = {"save_every": EVERY}
        begun = list(run.glob(f"*/{runlog.RECORD_NAME}"))
        if begun:
            more["resume"] = begun[0].parent
        process = context.Process(
            target=_stream, args=(project, name, None if begun else run / str(number), more)
        )
        process.start()
        process.join(seconds)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed += 1
        time.sleep(0.05)  # the board's program sees that its line is closed, and ends
    return stored(project), killed


def _stream(project: Path, name: str, run: Path | None, more: dict[str, Any]) -> None:
    with Session(project, "host") as session:
        session.train(*samples(), run=run, **options(name, **more))


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    """One run for each `next`, killed at random times."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        made: dict[str, tuple[Path, str, float]] = {}
        for number in range(10**9):
            name = list(PLANS)[number % len(PLANS)]
            if name not in made:
                out = project(name, folder)
                began = time.monotonic()
                expected = streamed(out, name, folder / f"{name}-alone", save_every=EVERY)
                made[name] = out, expected, time.monotonic() - began
            out, expected, seconds = made[name]
            empty_store(out)
            after = [chance.uniform(0, seconds) for _ in range(chance.randint(1, KILLS))]
            who = chance.choice(("board", "host"))
            kill = kill_boards if who == "board" else kill_hosts
            row = f"kill the {who}, {name}"
            try:
                found, killed = kill(out, name, folder / f"run{number}", after)
            except TinyodlError as error:
                yield row, f"after {after} s: {error}"
                continue
            told = f"other weights after {killed} kills, at {after} s"
            yield row, None if found == expected else told
