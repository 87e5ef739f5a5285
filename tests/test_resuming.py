"""A run that is cut off goes on from its last save, to the bits of an undisturbed one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import manifest
from tests.projects import built, two_layers
from tests.torture import kills
from tests.torture.kills import samples
from tinyodl.compiler import compile_model
from tinyodl.device import link, reopening
from tinyodl.device.codes import State
from tinyodl.device.reopening import ReopeningTransport
from tinyodl.errors import BoardError, LineLostError, UserError
from tinyodl.report.saves import of_resuming
from tinyodl.runs import log as runlog
from tinyodl.runs import resuming
from tinyodl.runs import summary as run_summary
from tinyodl.runs.progress import Progress
from tinyodl.samples.data import Samples
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

PLANS: dict[str, dict[str, Any]] = {
    "gradients": {"update": "full", "optimizer": "momentum", "batch": 4},
    "flash": kills.PLANS["transfer in flash"],
}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("resuming")
    model = two_layers(folder / "m.onnx")
    return {name: built(model, "host", folder / name, **plan) for name, plan in PLANS.items()}


@pytest.fixture
def project(projects: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of a project, with an empty store."""

    def copy(name: str) -> Path:
        number = len(list(tmp_path.glob("project*")))
        return Path(shutil.copytree(projects[name], tmp_path / f"project{number}"))

    return copy


def train(session: Session, run: Path | None, **more: Any) -> run_summary.RunSummary:
    x, y = samples()
    return session.train(x, y, run=run, **{"shuffle": 1, "eval": (x[:9], y[:9]), **more})


def stored(project: Path) -> str:
    return kills.stored(project)


def killing_at(session: Session, *steps: int) -> Callable[[Progress], None]:
    """A progress callback that takes the board's power after these steps, once each."""
    left = list(steps)

    def kill(progress: Progress) -> None:
        if progress.stage == "learning" and progress.done in left:
            left.remove(progress.done)
            session._transport._process.kill()

    return kill


@pytest.mark.parametrize("plan", PLANS)
def test_a_board_that_loses_its_power_goes_on_from_its_last_save(
    project: Callable[[str], Path], tmp_path: Path, plan: str
) -> None:
    epochs = 3 if plan == "flash" else 1
    alone, killed = project(plan), project(plan)
    with Session(alone) as session:
        train(session, tmp_path / "alone", epochs=epochs)
    with Session(killed) as session:
        kill = killing_at(session, 5, 22, 59)
        summary = train(session, tmp_path / "run", epochs=epochs, save_every=10, progress=kill)
    assert (summary.status, summary.samples, summary.saved) == ("done", 60, True)
    assert stored(killed) == stored(alone)
    run = runlog.read(tmp_path / "run")
    assert [step.step for step in run.steps] == list(range(60))
    assert [(e.name, e.step) for e in run.record.happened] == [
        ("restarted", 5),
        ("restarted", 22),
        ("restarted", 59),
    ]
    saves = [event.step for event in summary.events if event.name == "saved"]
    assert saves == [0, 10, 20, 30, 40, 50]
    assert run.record.saves == 8 + (epochs > 2)  # at 60, at the end, behind an epoch of the cache


def cut_off(project: Path, run: Path, steps: int, **more: Any) -> None:
    """A run whose host was killed: its log is torn in the middle of a line."""

    class Killed(BaseException):
        pass

    def stop(progress: Progress) -> None:
        if progress.stage == "learning" and progress.done == steps:
            raise Killed

    with Session(project) as session, pytest.raises(Killed):
        train(session, run, progress=stop, **more)
    record = json.loads((run / "run.json").read_text())
    record |= {"status": "running", "error": None, "finished": None}
    (run / "run.json").write_text(json.dumps(record))
    with (run / "steps.jsonl").open("a") as file:
        file.write('{"step": 99, "epo')


@pytest.mark.parametrize("every", [10, None])
def test_a_run_whose_host_was_killed_is_resumed_from_its_folder(
    project: Callable[[str], Path], tmp_path: Path, every: int | None
) -> None:
    alone, cut = project("gradients"), project("gradients")
    with Session(alone) as session:
        train(session, tmp_path / "alone")
    cut_off(cut, tmp_path / "run", 37, save_every=every)
    with Session(cut) as session:
        summary = train(session, None, save_every=every, resume=tmp_path / "run")
    assert (summary.run, summary.status, summary.samples) == (str(tmp_path / "run"), "done", 60)
    assert stored(cut) == stored(alone)
    assert [event.name for event in runlog.read(tmp_path / "run").record.happened] == ["resumed"]


def test_ctrl_c_and_resume_are_one_run(project: Callable[[str], Path], tmp_path: Path) -> None:
    import os
    import signal

    def stop(progress: Progress) -> None:
        if progress.stage == "learning" and progress.done == 33:
            os.kill(os.getpid(), signal.SIGINT)

    alone, cut = project("gradients"), project("gradients")
    with Session(alone) as session:
        train(session, tmp_path / "alone")
    with Session(cut) as session:
        assert train(session, tmp_path / "run", save_every=10, progress=stop).samples == 33
    with Session(cut) as session:
        again = train(session, None, save_every=10, resume=tmp_path / "run")
    assert again.status == "done" and stored(cut) == stored(alone)


def test_what_is_not_the_run_that_began_is_refused_by_name(
    project: Callable[[str], Path], tmp_path: Path
) -> None:
    cut, run = project("gradients"), tmp_path / "run"
    cut_off(cut, run, 37, save_every=10)
    x, y = samples()
    before = (run / "run.json").read_text()

    def resume(*data: np.ndarray, **more: Any) -> None:
        options = {"shuffle": 1, "eval": (x[:9], y[:9]), "save_every": 10, **more}
        session.train(*(data or (x, y)), resume=run, **options)

    with Session(cut) as session:
        for message, call in {
            "other data: the run began": lambda: resume(x[::-1], y[::-1]),
            "other data to evaluate on": lambda: resume(eval=(x[:8], y[:8])),
            "other order: the run began with --shuffle 1, this says 2": lambda: resume(shuffle=2),
            "other order: .* --limit not given, this says 50": lambda: resume(limit=50),
            "other settings: .* --lr 0.0.*, this says 0.5": lambda: resume(learning_rate=0.5),
            "other settings: .* --save-every 10, this says 20": lambda: resume(save_every=20),
        }.items():
            with pytest.raises(UserError, match=message):
                call()
        session.save()
        with pytest.raises(BoardError, match="the board's store has generation"):
            resume()
    record = json.loads(before)
    (run / "run.json").write_text(json.dumps(record | {"model_id": "00" * 8}))
    with Session(cut) as session, pytest.raises(UserError, match="other firmware"):
        resume()
    (run / "run.json").write_text(json.dumps(record | {"status": "done"}))
    with Session(cut) as session, pytest.raises(UserError, match="nothing to resume"):
        resume()


def test_without_a_save_a_run_begins_again_only_from_where_it_began(
    project: Callable[[str], Path], tmp_path: Path
) -> None:
    cut = project("gradients")
    with Session(cut) as session:
        train(session, tmp_path / "first")
    cut_off(cut, tmp_path / "run", 20)
    with Session(cut) as session:
        session.save()
        with pytest.raises(UserError, match=r"began with generation 1 .* now has generation 2"):
            train(session, None, resume=tmp_path / "run")


def test_samples_of_another_run_take_the_next_places_in_flash(
    project: Callable[[str], Path],
) -> None:
    x, y = samples()
    with Session(project("flash")) as session:
        client = session.client
        for index in range(4):
            client.train(x[index], int(y[index]))
        client.save()
        for index in range(4, 8):
            client.train(x[index], int(y[index]))
        client.restore(again=True)
        kept = client.replay(1, 0).held
        assert kept == 4
        client.train(x[4], int(y[4]))  # comes again, and finds itself
        assert client.replay(1, 0).held == 5
        other = 8 + int((y[8:] == np.bincount(y[:8]).argmin()).argmax())
        client.train(x[other], int(y[other]))  # another: all that was kept counts again
        assert client.replay(1, 0).held == 9


def test_a_board_says_what_its_weights_are(project: Callable[[str], Path]) -> None:
    x, y = samples()
    with Session(project("gradients")) as session:
        client = session.client
        states = [client.hello().state]
        for change in (
            lambda: client.train(x[0], int(y[0])),
            client.save,
            lambda: client.evaluate(x[0], int(y[0])),
            lambda: client.write_parameter(0, client.read_parameter(0)),
            client.restore,
            client.reset,
            lambda: client.say_steps(7),
        ):
            change()
            states.append(client.hello().state)
        assert client.hello().steps == 7
    assert [state.name for state in states] == [
        "COMPILED", "CHANGED", "SAVED", "SAVED", "CHANGED", "SAVED", "COMPILED", "CHANGED",
    ]  # fmt: skip


# What cannot be resumed


def test_compile_says_where_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    model = two_layers(tmp_path / "m.onnx")
    plan = {"update": "last", "guard": "5", "guard_memory": "flash"}
    guarded = compile_model(model, "host", tmp_path / "p", **plan)  # type: ignore[arg-type]
    [told] = of_resuming(guarded, load_board("host"))
    assert "cannot be saved in its middle, nor resumed: the guard keeps" in told
    with pytest.raises(UserError, match="cannot be saved in its middle"):
        resuming.require_able(guarded, load_board("host"))
    board = load_board("nrf52840_dk")
    assert resuming.unable(manifest(), board) is None
    assert board.store is not None
    small = board.store.model_copy(update={"slot_bytes": 32})
    for store, why in ((small, "whose slots have 32 B"), (None, "the board has no store")):
        changed = board.model_copy(update={"store": store})
        assert why in (resuming.unable(manifest(), changed) or "")


# Lines that come back


class Cable:
    """A line that echoes, until it is pulled."""

    name = "cable"

    def __init__(self) -> None:
        self.pulled, self.waiting = False, b""

    def write(self, data: bytes) -> None:
        self._check()
        self.waiting += data

    def read(self, timeout: float) -> bytes:
        self._check()
        found, self.waiting = self.waiting, b""
        return found

    def close(self) -> None:
        self.pulled = True

    def _check(self) -> None:
        if self.pulled:
            raise LineLostError("cable: gone")


def test_a_lost_line_is_opened_again_within_the_patience() -> None:
    cables = [Cable(), Cable(), Cable()]
    attempts = iter([BoardError("not yet"), UserError("no device"), cables[1], cables[2]])

    def open_again() -> Cable:
        found = next(attempts)
        if isinstance(found, Exception):
            raise found
        return found

    line = ReopeningTransport(cables[0], open_again)
    line.patience = 60
    line.write(b"a")
    assert line.read(1) == b"a"
    cables[0].pulled = True
    line.write(b"b")
    assert (line.read(1), line.reopened) == (b"b", 1)
    cables[1].pulled = True
    assert (line.read(1), line.reopened) == (b"", 2)  # nothing came: the client asks again
    line.patience = 0
    cables[2].pulled = True
    with pytest.raises(LineLostError):
        line.read(1)


def test_the_patience_of_a_session_does_not_run_while_there_is_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock, cable = Clock(), Cable()
    monkeypatch.setattr(reopening, "time", clock)
    monkeypatch.setattr(link, "time", clock)

    def open_again() -> Cable:
        if clock.now < 40:
            raise BoardError("not yet")
        return Cable()

    line = reopening.ReopeningTransport(cable, open_again)
    line.patience = 60
    end = (session := link.Link(line, 0, patience=15)).begin() + 15
    cable.pulled = True
    assert (line.read(1), line.reopened) == (b"", 1)
    assert clock.now >= 40 and session.begin() < end
    line.patience = 30
    line._transport.close()
    clock.now = 0
    with pytest.raises(LineLostError, match="did not come back within 30 s"):
        line.read(1)


def test_a_digest_tells_samples_apart() -> None:
    def digest(x: list[list[float]], y: list[int]) -> str:
        return resuming.digest(Samples(np.array(x, np.float32), np.array(y), "any name"))

    one = digest([[1, 2], [3, 4]], [0, 1])
    assert one == digest([[1, 2], [3, 4]], [0, 1])
    assert len({one, digest([[1, 2], [3, 4]], [1, 0]), digest([[3, 4], [1, 2]], [1, 0]),
                digest([[1, 2, 3, 4]], [0])}) == 4  # fmt: skip


def test_states_are_numbered_as_the_board_does() -> None:
    source = (Path(__file__).parent.parent / "templates/device/commands.c").read_text()
    assert f"AS_SAVED = {State.SAVED.value}, AS_COMPILED = {State.COMPILED.value}" in source
