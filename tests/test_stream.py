"""A session trains, evaluates and exports; whatever ends it, the log says how far it came."""

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.projects import WATCH, built
from tinyodl import Session
from tinyodl.errors import BoardError, DataError, UserError
from tinyodl.project import manifest as manifest_file
from tinyodl.runs import log as runlog
from tinyodl.runs.progress import OnProgress, Progress


def windows(part: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    file = np.load(WATCH / f"person8_{part}.npz", allow_pickle=False)
    return file["x"][:count], file["y"][:count]


def mixed(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of all exercises: the file itself holds one exercise after the other."""
    x, y = windows("learn")
    rows = np.random.default_rng(0).permutation(len(x))[:count]
    return x[rows], y[rows]


def test_a_run_measures_before_and_after_and_logs_every_step(
    watch_host: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    with Session(watch_host) as session:
        summary = session.train(
            *windows("learn"),
            shuffle=0,
            eval=windows("test"),
            run=tmp_path / "run",
            progress=seen.append,
        )
    assert summary.status == "done" and summary.samples == 229
    assert summary.accuracy_before == pytest.approx(0.838, abs=0.001)
    assert summary.accuracy_after is not None and summary.accuracy_after > 0.86
    assert summary.loss_before is not None and summary.loss_after is not None
    assert summary.loss_after < summary.loss_before
    run = runlog.read(tmp_path / "run")
    assert run.summary == summary
    assert sorted(step.sample for step in run.steps) == list(range(229))
    assert [step.sample for step in run.steps] == list(np.random.default_rng(0).permutation(229))
    assert run.record.after is not None and run.record.after.confusion is not None
    assert np.sum(run.record.after.confusion) == 229
    assert [p.stage for p in seen] == ["before"] * 229 + ["learning"] * 229 + ["after"] * 229


def test_five_shuffles_of_a_new_person_reach_89_percent_in_the_mean(
    watch_host: Path, tmp_path: Path
) -> None:
    after = []
    with Session(watch_host) as session:
        for seed in range(5):
            session.reset()
            summary = session.train(
                *windows("learn"), shuffle=seed, eval=windows("test"), run=tmp_path / str(seed)
            )
            assert summary.accuracy_before == pytest.approx(0.8384, abs=1e-4)
            after.append(summary.accuracy_after)
    assert np.mean(after) >= 0.89


def test_the_log_of_loss_and_prediction_is_that_of_onnxruntime_before_the_first_update(
    watch_host: Path, tmp_path: Path
) -> None:
    x, y = windows("learn", 1)
    with Session(watch_host) as session:
        session.train(x, y, run=tmp_path / "run")
    model = onnxruntime.InferenceSession(WATCH / "watch_cnn_c7.onnx")
    logits = model.run(None, {"input": x[:1]})[0][0].astype(float)
    (step,) = runlog.read(tmp_path / "run").steps
    expected = math.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[y[0]]
    assert step.loss == pytest.approx(expected, abs=1e-5)
    assert step.predicted == logits.argmax()
    assert step.cycles[0] > 0 and step.ms > 0
    assert step.instructions is None and step.mj is None  # the host's clock is not the board's


def test_learned_weights_are_there_in_the_next_session(watch_host: Path, tmp_path: Path) -> None:
    with Session(watch_host) as session:
        assert session.train(*windows("learn", 30), run=tmp_path / "run").saved
        learned = session.client.read_parameter(0)
        session.reset()
        assert not np.array_equal(session.client.read_parameter(0), learned)
    with Session(watch_host) as session:
        np.testing.assert_array_equal(session.client.read_parameter(0), learned)
        session.train(*windows("learn", 1), run=tmp_path / "more")
        session.reset()
        session.train(*windows("learn", 1), run=tmp_path / "again")
    assert runlog.read(tmp_path / "more").record.steps_before == 30
    assert runlog.read(tmp_path / "again").record.steps_before == 0


def test_the_exported_model_computes_what_the_board_computes(
    watch_host: Path, tmp_path: Path
) -> None:
    x, y = windows("test", 40)
    with Session(watch_host) as session:
        session.train(*mixed(40), run=tmp_path / "run")
        session.export(tmp_path / "learned.onnx")
        outputs = session.infer(x)
        evaluation = session.evaluate(x, y)
    model = onnxruntime.InferenceSession(tmp_path / "learned.onnx")
    expected = np.concatenate([model.run(None, {"input": x[i : i + 1]})[0] for i in range(len(x))])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert evaluation.accuracy == np.mean(expected.argmax(1) == y)


def test_samples_go_in_file_order_unless_shuffled_and_limit_ends_each_epoch(
    watch_host: Path, tmp_path: Path
) -> None:
    x, y = windows("learn", 10)
    with Session(watch_host) as session:
        session.train(x, y, epochs=2, limit=4, run=tmp_path / "ordered")
        session.train(x, y, epochs=2, limit=4, shuffle=7, run=tmp_path / "shuffled")
    ordered = runlog.read(tmp_path / "ordered").steps
    assert [step.sample for step in ordered] == [0, 1, 2, 3] * 2
    assert [step.epoch for step in ordered] == [0] * 4 + [1] * 4
    random = np.random.default_rng(7)
    expected = [*random.permutation(10)[:4], *random.permutation(10)[:4]]
    assert [s.sample for s in runlog.read(tmp_path / "shuffled").steps] == expected


def test_a_learning_rate_holds_for_one_run_only(watch_host: Path, tmp_path: Path) -> None:
    x, y = windows("learn", 3)
    with Session(watch_host) as session:
        before = session.client.read_parameter(0)
        session.train(x, y, learning_rate=0.0, run=tmp_path / "a")
        np.testing.assert_array_equal(session.client.read_parameter(0), before)
        session.train(x, y, run=tmp_path / "b")
        assert not np.array_equal(session.client.read_parameter(0), before)
    assert runlog.read(tmp_path / "b").record.learning_rate == pytest.approx(0.02)


def test_a_run_that_resets_begins_with_the_weights_of_the_file_once_its_options_hold(
    watch_host: Path, tmp_path: Path
) -> None:
    x, y = mixed(8)
    with Session(watch_host, port="host") as session:
        first = session.train(x, y, run=tmp_path / "0").mean_loss
        learned = session.infer(x)
        with pytest.raises(UserError, match="no_such"):
            session.train(x, y, reset=True, settings={"no_such": 1.0}, run=tmp_path / "refused")
        assert np.array_equal(session.infer(x), learned)
        assert session.train(x, y, run=tmp_path / "1").mean_loss != first
        assert session.train(x, y, reset=True, run=tmp_path / "2").mean_loss == first


def test_mse_has_losses_and_no_accuracies(regression: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 4)).astype(np.float32)
    y = (x @ random.normal(size=(4, 2))).astype(np.float32)
    with Session(regression) as session:
        summary = session.train(x, y, epochs=3, eval=(x, y), run=tmp_path / "run")
        assert session.evaluate(x, y).confusion is None
    assert summary.accuracy_before is None and summary.prequential_accuracy is None
    assert summary.loss_before is not None and summary.loss_after is not None
    assert summary.loss_after < summary.loss_before / 10


def test_data_that_does_not_fit_is_refused_before_a_run_begins(
    watch_host: Path, tmp_path: Path
) -> None:
    x, y = windows("learn", 3)
    with Session(watch_host) as session:
        with pytest.raises(DataError, match=r"class numbers|classes 0 to 6"):
            session.train(x, y + 7, run=tmp_path / "run")
        with pytest.raises(DataError, match="x has shape"):
            session.train(x, y, eval=(x[:, 0], y), run=tmp_path / "run")
        with pytest.raises(UserError, match="epochs is 0"):
            session.train(x, y, epochs=0, run=tmp_path / "run")
        with pytest.raises(UserError, match="limit is -1"):
            session.train(x, y, limit=-1, run=tmp_path / "run")
        with pytest.raises(UserError, match="shuffle is -1"):
            session.train(x, y, shuffle=-1, run=tmp_path / "run")
        with pytest.raises(DataError, match="learning rate nan"):
            session.train(x, y, learning_rate=math.nan, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def interrupt_at(step: int, times: int = 1) -> OnProgress:
    """A progress callback that presses Ctrl-C after a step."""

    def callback(progress: Progress) -> None:
        if progress.stage == "learning" and progress.done == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return callback


def test_ctrl_c_ends_between_two_samples_saves_and_leaves_a_whole_log(
    watch_host: Path, tmp_path: Path
) -> None:
    with Session(watch_host) as session:
        summary = session.train(*windows("learn"), run=tmp_path / "run", progress=interrupt_at(17))
    assert (summary.status, summary.samples, summary.saved) == ("interrupted", 17, True)
    run = runlog.read(tmp_path / "run")
    assert run.record.status == "interrupted" and len(run.steps) == 17
    with Session(watch_host) as session:
        assert session.hello.steps == 17
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_at_once(watch_host: Path, tmp_path: Path) -> None:
    with Session(watch_host) as session, pytest.raises(KeyboardInterrupt):
        session.train(*windows("learn"), run=tmp_path / "run", progress=interrupt_at(3, times=2))
    run = runlog.read(tmp_path / "run")
    assert run.record.status == "interrupted" and len(run.steps) == 3


def test_a_session_in_another_thread_trains_too(watch_host: Path, tmp_path: Path) -> None:
    found: list[int] = []

    def work() -> None:
        with Session(watch_host) as session:
            found.append(session.train(*windows("learn", 2), run=tmp_path / "run").samples)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [2]


def test_a_board_that_dies_is_named_with_the_step_and_the_log_is_kept(
    watch_host: Path, tmp_path: Path
) -> None:
    with Session(watch_host) as session:

        def pull_the_plug(progress: Progress) -> None:
            if progress.done == 5:
                session._transport._process.kill()  # type: ignore[attr-defined]

        with pytest.raises(BoardError, match=r"step 6 of 229 \(sample 5 of learn\.npz\)"):
            session.train(
                *windows("learn"),
                run=tmp_path / "run",
                source="learn.npz",
                progress=pull_the_plug,
            )
    run = runlog.read(tmp_path / "run")
    assert run.record.status == "failed" and len(run.steps) == 5
    assert run.record.error is not None and "step 6" in run.record.error


def test_a_rate_that_is_too_high_is_named_and_the_board_goes_back(tmp_path: Path) -> None:
    model = WATCH / "watch_cnn_c7.onnx"
    with Session(built(model, "host", tmp_path / "watch", bound="off")) as session:
        before = session.client.read_parameter(0)
        with pytest.raises(UserError, match=r"not a finite number.*--lr.*the ONNX file"):
            session.train(*windows("learn"), learning_rate=1e38, run=tmp_path / "run")
        np.testing.assert_array_equal(session.client.read_parameter(0), before)
    run = runlog.read(tmp_path / "run")
    assert run.record.status == "failed"
    assert run.steps[-1].loss is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_ends_the_run_with_the_weights_saved(
    watch_host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in ("require_free", "claim"):
        monkeypatch.setattr(runlog, check, lambda folder: folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "steps.jsonl").symlink_to("/dev/full")
    with (
        Session(watch_host) as session,
        pytest.raises(runlog.RunLogError, match=r"No space left.*saved in the board's store"),
    ):
        session.train(*windows("learn"), run=tmp_path / "run")
    with Session(watch_host) as session:
        assert session.hello.generation == 1


def test_a_board_with_other_firmware_is_refused(watch_host: Path) -> None:
    changed = manifest_file.load(watch_host).model_copy(update={"model_id": "0123456789abcdef"})
    (watch_host / "tinyodl.json").write_text(manifest_file.dump(changed))
    with pytest.raises(BoardError, match=r"other firmware.*flash it"):
        Session(watch_host)


def test_a_project_that_was_not_built_says_so(watch_host: Path) -> None:
    (watch_host / ".pio/build/host/firmware.elf").unlink()
    with pytest.raises(UserError, match="tinyodl flash"):
        Session(watch_host)


@pytest.mark.parametrize("patience", [math.nan, math.inf, 0.0, -1.0])
def test_patience_is_a_number_of_seconds(tmp_path, patience):
    with pytest.raises(UserError, match="needed is a number of seconds above 0"):
        Session(tmp_path, port="host", patience=patience)
