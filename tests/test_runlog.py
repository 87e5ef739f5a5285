"""A run's folder can be read at any moment, also when the run was cut off."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.fakes import manifest, record, step
from tinyodl.errors import UserError
from tinyodl.runs import log as runlog
from tinyodl.runs import summary as run_summary
from tinyodl.runs.log import RunLog
from tinyodl.runs.record import Evaluation


def written(folder: Path, steps: int = 5, **changes: object) -> Path:
    log = RunLog(folder, record(**changes), manifest())
    for index in range(steps):
        log.step(step(index))
    log.close()
    return folder


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    run = runlog.read(written(tmp_path / "run"))
    assert run.record == record()
    assert run.manifest == manifest()
    assert run.steps == tuple(step(index) for index in range(5))
    assert runlog.read(tmp_path / "run" / "run.json") == run


def test_every_step_is_on_disk_when_step_returns(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", record(status="running"), manifest())
    for index in range(3):
        log.step(step(index))
        assert len(runlog.read(tmp_path / "run").steps) == index + 1
    assert runlog.read(tmp_path / "run").record.status == "running"
    log.close()


def test_a_log_cut_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", steps=3)
    whole = (folder / "steps.jsonl").read_bytes()
    for cut in range(len(whole) + 1):
        (folder / "steps.jsonl").write_bytes(whole[:cut])
        assert len(runlog.read(folder).steps) == whole[:cut].count(b"\n")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    lines = (folder / "steps.jsonl").read_text().splitlines()
    lines[1] = lines[1][:-5]
    (folder / "steps.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"steps\.jsonl: line 2 is not a step"):
        runlog.read(folder)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run \(run\.json: No such file"):
        runlog.read(tmp_path)


def test_a_record_of_another_form_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    (folder / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run\.json: tinyodl: Field required"):
        runlog.read(folder)


def test_run_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", record(status="running"), manifest())
    log.update(status="done", after=Evaluation(samples=2, loss=0.5, accuracy=1.0, confusion=None))
    log.close()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "run.json",
        "steps.jsonl",
        "tinyodl.json",
    ]
    after = runlog.read(tmp_path / "run").record.after
    assert after is not None and after.accuracy == 1.0


def test_a_run_never_overwrites_another(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already holds a run"):
        runlog.claim(written(tmp_path / "run"))
    assert runlog.claim(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        runlog.claim(tmp_path / "file")


def test_default_folders_are_named_after_the_project_and_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = set()
    for _ in range(3):
        folder = runlog.default_folder(Path("build/watch"))
        folder.mkdir(parents=True)
        names.add(folder.name)
    assert len(names) == 3 and all(name.startswith("watch-2") for name in names)


def _claimed(folder: Path | None) -> Path | None:
    """A folder for a run of build/watch, in a process of its own; None where it is refused."""
    try:
        return runlog.claim_default(Path("build/watch")) if folder is None else runlog.claim(folder)
    except UserError:
        return None


def test_runs_that_begin_together_get_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        folders = list(pool.map(_claimed, [None] * 12))
    assert len(set(folders)) == 12 and all(folder and folder.is_dir() for folder in folders)


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "empty"])
def test_of_runs_that_name_one_folder_one_gets_it(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "runs" / "mine"
    if is_there:
        folder.mkdir(parents=True)
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        found = list(pool.map(_claimed, [folder] * 12))
    assert found.count(folder) == 1 and found.count(None) == 11


def test_a_run_that_is_refused_takes_no_folder(tmp_path: Path, watch_host: Path) -> None:
    folder = tmp_path / "run"
    with tinyodl.Session(watch_host) as session, pytest.raises(UserError, match="learning rate"):
        session.train(np.zeros((1, 6, 1, 100)), [0], learning_rate=-1.0, run=folder)
    assert not folder.exists()


def test_a_disk_that_refuses_is_reported_with_the_folder(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", record(), manifest())
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(runlog.RunLogError, match="run: the run cannot be logged: No such file"):
        log.update(status="done")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_reported_at_the_step(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "steps.jsonl").symlink_to("/dev/full")
    log = RunLog(tmp_path / "run", record(), manifest())
    with pytest.raises(runlog.RunLogError, match="No space left on device"):
        log.step(step(0))


def test_the_summary_is_the_mean_of_the_steps() -> None:
    steps = [step(index) for index in range(4)]
    summary = run_summary.summarize(record(), steps, Path())
    assert summary.samples == 4
    assert summary.prequential_accuracy == 0.5
    assert summary.mean_loss == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert summary.cycles == {"forward": 1001.5, "backward": 200, "update": 300}
    assert summary.instructions == {"forward": 700, "backward": 100, "update": 150}
    assert (summary.ms_per_step, summary.mj_per_step) == (0.5, 0.01)


def test_a_mean_with_an_unknown_part_is_unknown() -> None:
    steps = [step(0), step(1, loss=None, mj=None, instructions=None)]
    summary = run_summary.summarize(record(), steps, Path())
    assert summary.mean_loss is None and summary.mj_per_step is None
    assert summary.instructions is None and summary.cycles is not None


def test_a_run_without_steps_has_no_means() -> None:
    summary = run_summary.summarize(record(status="failed"), [], Path())
    assert summary.samples == 0
    assert summary.prequential_accuracy is None and summary.cycles is None
