"""A run that does harm is told loudly, and the weights of before it are kept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.fakes import manifest, step
from tests.projects import WATCH, built, two_layers
from tests.torture.kills import samples
from tinyodl.cli.main import tinyodl
from tinyodl.device.codes import State
from tinyodl.runs import bad_loss, harm
from tinyodl.runs import log as runlog
from tinyodl.runs.evaluating import Outcomes
from tinyodl.runs.record import Evaluation
from tinyodl.samples.data import Samples
from tinyodl.session.session import Session


def outcomes(right: list[float], losses: list[float] | None = None) -> Outcomes:
    nothing = Evaluation(samples=len(right), loss=None, accuracy=None, confusion=None)
    given = np.full(len(right), np.nan) if losses is None else np.array(losses)
    return Outcomes(np.array(right), given, nothing)


@pytest.mark.parametrize(
    ("lost", "won", "samples", "harmed"),
    [
        (10, 0, 100, True),  # 10 points, two standard errors are 6
        (4, 0, 50, True),  # 8 points, 7.7
        (3, 0, 50, False),  # 6 points, 6.7
        (30, 20, 100, False),  # 10 points, but 14
        (300, 200, 10_000, False),  # far beyond chance, and a single point
        (0, 10, 100, False),
    ],
)
def test_accuracy_is_clearly_worse_from_two_points_and_two_paired_standard_errors_on(
    lost: int, won: int, samples: int, harmed: bool
) -> None:
    before = [1.0] * lost + [0.0] * won + [1.0] * (samples - lost - won)
    after = [0.0] * lost + [1.0] * won + [1.0] * (samples - lost - won)
    verdict = harm.compared(outcomes(before), outcomes(after), 1.0)
    assert verdict.harmed == harmed
    assert f"same {samples} samples" in verdict.sentence


def test_without_classes_the_losses_of_the_same_samples_are_compared() -> None:
    unknown = [np.nan] * 200
    noise = np.abs(np.random.default_rng(0).normal(size=200)) + 0.5

    def verdict(after: np.ndarray) -> bool:
        count = len(after)
        before = outcomes(unknown[:count], noise[:count].tolist())
        return harm.compared(before, outcomes(unknown[:count], after.tolist()), 1.0).harmed

    assert not verdict(noise)
    assert not verdict(noise * 1.05)  # each a little, but less than a tenth
    assert verdict(noise * 1.2)
    assert not verdict(noise[1:21] * 1.2)  # as much, of samples that say nothing together
    assert verdict(np.where(np.arange(200) == 7, np.nan, noise))


def streamed(losses: list[float]) -> harm.Verdict:
    steps = [step(number, loss=loss) for number, loss in enumerate(losses)]
    few = Samples(np.zeros((3, 2), np.float32), np.arange(3), "few")
    return harm.streamed(steps, (), few, manifest())


def test_a_loss_runs_away_when_half_of_the_last_ones_are_far_above_knowing_nothing() -> None:
    good = [0.5] * 200
    assert not streamed(good).harmed
    assert not streamed([0.01] * 180 + [30.0] * 20).harmed  # another class has begun
    assert streamed([0.5] * 100 + [9.0] * 100).harmed
    assert streamed([0.0] * 199 + [1e30]).harmed  # right nearly always, with absurd weights
    assert streamed([1.0, 1e28, 1e30] * 60).harmed  # from the first steps on
    assert not streamed([9.0] * 100 + [8.0] * 100).harmed  # bad when it came
    assert not streamed([99.0] * 5).harmed


def test_large_errors_of_an_autoencoder_at_anomalies_are_no_harm() -> None:
    watching = manifest(input_shape=(1, 3), loss="reconstruction")
    some = Samples(np.eye(3, dtype=np.float32), np.zeros(3, np.int64), "some")

    def verdict(label: int | None, loss: float) -> bool:
        normal = [step(n, label=label, predicted=0, loss=0.1) for n in range(60)]
        faults = [
            step(60 + n, label=None if label is None else 1, predicted=1, loss=90.0)
            for n in range(60)
        ]
        last = [step(120 + n, label=label, predicted=0, loss=loss) for n in range(60)]
        return harm.streamed([*normal, *faults, *last][:180], (), some, watching).harmed

    assert not verdict(0, 0.1) and not verdict(None, 0.1)
    assert verdict(0, 90.0) and verdict(None, 90.0)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harm")
    return built(two_layers(folder / "m.onnx"), "host", folder / "p", update="full",
                 learning_rate=0.05)  # fmt: skip


@pytest.fixture
def project(classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classifier, tmp_path / "p"))


def wrong() -> tuple[np.ndarray, np.ndarray]:
    """Samples whose labels teach the opposite of `samples`."""
    x, y = samples()
    return x, (y + 1) % 3


def test_a_harmful_run_leaves_the_stored_weights_and_the_board_goes_back_to_them(
    project: Path, tmp_path: Path
) -> None:
    with Session(project) as session:
        session.train(*samples(), epochs=5, eval=samples(), run=tmp_path / "good")
        good = session.client.read_parameter(0)
        summary = session.train(*wrong(), epochs=5, eval=samples(), run=tmp_path / "bad")
        assert (summary.status, summary.saved) == ("harmed", False)
        np.testing.assert_array_equal(session.client.read_parameter(0), good)
        hello = session.client.hello()
        assert (hello.generation, hello.state, hello.steps) == (1, State.SAVED, 300)
    assert summary.error is not None and "did harm: accuracy" in summary.error
    assert "--save always" in summary.error


def test_with_saves_in_mid_run_the_weights_of_before_are_put_back_into_the_store(
    project: Path, tmp_path: Path
) -> None:
    with Session(project) as session:
        session.train(*samples(), epochs=5, eval=samples(), run=tmp_path / "good")
        good = session.client.read_parameter(0)
        summary = session.train(
            *wrong(), epochs=5, eval=samples(), run=tmp_path / "bad", save_every=50
        )
        assert summary.status == "harmed"
    with Session(project) as session:
        np.testing.assert_array_equal(session.client.read_parameter(0), good)
        assert session.hello.steps == 300


def test_save_always_keeps_what_a_harmful_run_learned(project: Path, tmp_path: Path) -> None:
    with Session(project) as session:
        session.train(*samples(), epochs=5, run=tmp_path / "good")
        summary = session.train(
            *wrong(), epochs=5, eval=samples(), run=tmp_path / "bad", save="always"
        )
        assert (summary.status, summary.saved) == ("harmed", True)
        bad = session.client.read_parameter(0)
    with Session(project) as session:
        np.testing.assert_array_equal(session.client.read_parameter(0), bad)


def test_weights_that_are_in_no_store_come_back_too(project: Path, tmp_path: Path) -> None:
    with Session(project) as session:
        session.train(*samples(), epochs=5, run=tmp_path / "good")
        session.client.write_parameter(0, mine := session.client.read_parameter(0) * 1.5)
        summary = session.train(*wrong(), epochs=5, eval=samples(), run=tmp_path / "bad")
        assert summary.status == "harmed"
        np.testing.assert_array_equal(session.client.read_parameter(0), mine)


def test_without_an_evaluation_only_a_loss_that_runs_away_tells_and_the_log_says_so(
    project: Path, tmp_path: Path
) -> None:
    with Session(project) as session:
        summary = session.train(*wrong(), epochs=5, run=tmp_path / "unseen")
    assert summary.status == "done"
    assert summary.verdict is not None and "without --eval only" in summary.verdict


def test_the_command_says_it_loudly_and_ends_with_1(project: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=wrong()[0], y=wrong()[1])
    np.savez(tmp_path / "right.npz", x=samples()[0], y=samples()[1])

    def train(data: str, run: str, *more: str) -> Any:
        command = ["stream-train", str(project), "--data", str(tmp_path / data), "--epochs", "5"]
        tested = ["--eval", str(tmp_path / "right.npz"), "--run", str(tmp_path / run)]
        return CliRunner().invoke(tinyodl, [*command, *tested, *more])

    assert train("right.npz", "good").exit_code == 0
    done = train("wrong.npz", "bad")
    assert done.exit_code == 1
    text = " ".join(done.output.split())
    assert "this run did harm: accuracy" in text and re.search(
        r"\bbad recorded x5 .{,80}\(harmed\)", text
    )
    page = (tmp_path / "bad" / "report.html").read_text()
    assert "harmed" in page and "this run did harm" in page
    assert train("wrong.npz", "kept", "--save", "always").exit_code == 1


def test_streams_in_recorded_order_do_not_trip_the_rule(watch_host: Path, tmp_path: Path) -> None:
    file = np.load(WATCH / "person8_learn.npz", allow_pickle=False)
    with Session(watch_host) as session:
        summary = session.train(file["x"], file["y"], run=tmp_path / "run")
    assert (summary.status, summary.saved) == ("done", True)


# Not a number, at one step


def named(values: list[float], losses: list[float | None]) -> str:
    x = np.array(values, np.float32)[:, None].repeat(2, axis=1)
    steps = [step(n, sample=n, loss=loss) for n, loss in enumerate(losses)]
    return bad_loss.why_not_finite(steps, Samples(x, np.zeros(len(x), np.int64), "day.npz"))


def test_what_made_a_loss_not_a_number_is_named() -> None:
    sample = named([1, 2, 1, 2, -9999], [0.5, 0.4, 0.5, 0.4, None])
    assert "sample 4 of day.npz is extraordinary" in sample and "9999" in sample
    assert "--lr" not in sample
    before = named([1, 2, 1, 2, -9999, 1], [0.5, 0.4, 0.5, 0.4, 0.4, None])
    assert "sample 4 of day.npz" in before
    rate = named([1, 2, 1, 2, 1, 2, 1], [0.5, 2.0, 90.0, 1e4, 1e9, 1e30, None])
    assert "the loss had grown" in rate and "smaller --lr" in rate
    first = named([1], [None])
    assert "nothing had been learned before" in first and "--lr" not in first


def test_every_step_of_a_run_is_in_its_log_though_it_did_harm(
    project: Path, tmp_path: Path
) -> None:
    with Session(project) as session:
        session.train(*wrong(), epochs=5, eval=samples(), run=tmp_path / "bad")
    assert len(runlog.read(tmp_path / "bad").steps) == 300
