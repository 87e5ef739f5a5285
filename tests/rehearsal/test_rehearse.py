"""A rehearsal of the digits network under other names: what it tries, takes, keeps and writes."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.quick_c import QUICK
from tests.rehearsal.samples import MODEL, digits
from tinyodl.cli.main import tinyodl as commands
from tinyodl.errors import DataError, UserError
from tinyodl.project.config import read_config
from tinyodl.rehearsal import work
from tinyodl.rehearsal.candidates import Candidate, Task, candidates
from tinyodl.rehearsal.choice import choose, share_of
from tinyodl.rehearsal.rehearse import Rehearsal, rehearse
from tinyodl.rehearsal.trial import Course
from tinyodl.rehearsal.work import Tried

COURSE = Course(seeds=(0,), folds=2)
FEW = (
    Candidate("none", {"update": "none"}),
    Candidate("slda", {"learner": "slda"}),
    Candidate("last", {"update": "last"}, (0.001, 0.1)),
    Candidate("slda, started", {"learner": "slda"}, started=True),
    Candidate("ncm of labels that no model has", {"learner": "ncm", "classes": 2}),
)


@pytest.fixture(scope="module", autouse=True)
def quick_and_few():
    """Four candidates, compiled in less time to the same bits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "tinyodl.rehearsal.rehearse.candidates", lambda task: FEW if task.old else FEW[:3]
        )
        patched.setattr(work, "_flags", lambda *_: QUICK)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """new.npz to rehearse with, day2.npz to test, old.npz of the digits under their own names."""
    folder = tmp_path_factory.mktemp("samples")
    for name, (x, y) in {
        "new": digits(12),
        "day2": digits(10, skip=20),
        "old": digits(12, skip=30, names=range(4)),
    }.items():
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return folder


@pytest.fixture(scope="module")
def made(files) -> Rehearsal:
    return rehearse(
        MODEL, "host", files / "new.npz", eval=files / "day2.npz", old=files / "old.npz",
        course=COURSE,
    )  # fmt: skip


def tried(made: Rehearsal, name: str) -> Tried:
    [found] = [each for result in made.results for each in result.tried if each.name == name]
    return found


class TestTried:
    def test_what_learns_the_new_names_is_ahead_of_what_does_not(self, made):
        assert share_of(tried(made, "none")) < 0.2
        assert share_of(tried(made, "slda")) > 0.8

    def test_each_rate_is_a_trial_of_its_own(self, made):
        slow, fast = tried(made, "last, rate 0.001"), tried(made, "last, rate 0.1")
        assert slow.options["learning_rate"] == 0.001
        assert share_of(slow) < 0.2 < share_of(fast)

    def test_old_names_are_kept_by_what_begins_from_them(self, made):
        assert tried(made, "none").shuffled.kept > 0.9
        assert tried(made, "slda").shuffled.kept < 0.1

    def test_a_label_that_the_network_does_not_take_is_no_error_of_the_rehearsal(self, made):
        result = made.results[-1]
        assert not result.tried
        assert "label" in result.why_not

    def test_a_budget_leaves_out_what_is_larger(self, files):
        needs = tried_alone(files, None).results[1].tried[0].ram
        left_out = tried_alone(files, needs - 1)
        assert left_out.results[1].why_not == (
            f"needs {needs:,} B of RAM, and there are {needs - 1:,} B"
        )
        assert left_out.choice.taken.candidate != "slda"

    def test_a_budget_of_time_leaves_out_what_takes_longer(self, files):
        made = rehearse(MODEL, "nrf52840_dk", files / "new.npz", ms=1e-6, course=COURSE)
        assert re.fullmatch(
            r"a step takes [\d.]+ ms, and may take 1e-06 ms", made.results[0].why_not
        )
        assert made.choice is None

    def test_the_other_day_plays_no_part_in_the_choice(self, made, files):
        without = rehearse(MODEL, "host", files / "new.npz", old=files / "old.npz", course=COURSE)
        assert without.results == tuple(replace(r, seconds=s.seconds) for r, s in zip(
            made.results, without.results, strict=True))  # fmt: skip
        assert without.choice == made.choice
        assert [each.tested for each in without.finals] == [None, None]
        assert [each.tested > 0.8 for each in made.finals] == [False, True]


def tried_alone(files: Path, ram: int | None) -> Rehearsal:
    return rehearse(MODEL, "host", files / "new.npz", ram=ram, course=COURSE)


class TestChoice:
    def test_a_tie_goes_to_the_cheaper(self, made):
        slda = tried(made, "slda")
        dear = replace(slda, name="dear", ram=slda.ram * 10)
        for order in ([slda, dear], [dear, slda]):
            assert choose(order).taken is slda

    def test_what_is_behind_by_more_than_its_error_is_no_tie(self, made):
        found = choose([tried(made, "slda"), tried(made, "none")])
        assert (found.taken, found.tied) == (tried(made, "slda"), (tried(made, "slda"),))

    def test_a_loss_that_was_no_number_is_never_taken(self, made):
        slda = tried(made, "slda")
        broken = replace(slda, shuffled=replace(slda.shuffled, finite=False))
        assert choose([broken, tried(made, "none")]).taken.name == "none"
        assert choose([broken]) is None

    def test_nothing_learned_is_said(self, made):
        [told] = choose([tried(made, "none")]).why[1:]
        assert told == "Learning brings nothing that these samples can show."


class TestAgain:
    def test_a_second_call_tries_nothing_again(self, files, tmp_path, monkeypatch):
        first = rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path)
        assert len(list(tmp_path.iterdir())) == 3
        monkeypatch.setattr("tinyodl.rehearsal.running.carry_out", None)
        again = rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path)
        assert again.results == first.results
        assert again.choice == first.choice

    def test_other_samples_find_no_old_result(self, files, tmp_path, monkeypatch):
        rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path, seconds=0)
        made = rehearse(
            MODEL, "host", files / "day2.npz", course=COURSE, folder=tmp_path, seconds=0
        )
        assert made.results == ()

    def test_a_damaged_result_is_made_again(self, files, tmp_path):
        first = rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path)
        for path in tmp_path.iterdir():
            path.write_bytes(path.read_bytes()[:100])
        again = rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path)
        assert again.choice == first.choice

    def test_the_time_is_over(self, files):
        made = rehearse(MODEL, "host", files / "new.npz", course=COURSE, seconds=0)
        assert made.untried == ("none", "slda", "last")
        assert made.choice is None

    def test_ctrl_c_keeps_what_is_done(self, files, tmp_path):
        """It comes while the first candidate is told; the second call does the rest."""
        made = rehearse(
            MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path,
            progress=lambda _: signal.raise_signal(signal.SIGINT),
        )  # fmt: skip
        assert made.stopped
        assert [result.candidate for result in made.results] == ["none"]
        again = rehearse(MODEL, "host", files / "new.npz", course=COURSE, folder=tmp_path)
        assert again.results[0] == made.results[0]
        assert again.untried == ()


class TestSamples:
    def test_recordings_that_do_not_fit(self, files, tmp_path):
        x, y = digits(12)
        np.savez(tmp_path / "wrong.npz", x=x, y=y, groups=[1, 2])
        with pytest.raises(DataError, match="groups says which recording each of 48 samples"):
            rehearse(MODEL, "host", tmp_path / "wrong.npz")

    def test_options_that_it_chooses(self, files):
        with pytest.raises(UserError, match="chooses learning-rate by itself"):
            rehearse(MODEL, "host", files / "new.npz", learning_rate=0.1)


class TestCandidates:
    def test_names_are_unique(self):
        for task in (Task(10, 10, "input", True), Task(10, 12, "", False)):
            names = [each.name for each in candidates(task)]
            assert len(set(names)) == len(names)

    def test_more_labels_than_outputs_need_fresh_layers(self):
        """Nothing then is of the model's own last layer, and all have as many outputs."""
        listed = candidates(Task(8, 10, "input", False))
        assert not {"none", "bias", "full"} & {each.name for each in listed}
        for each in listed:
            assert each.options.get("classes", each.options.get("head")) in (
                10, "dense:10", "prototypes:10",
            )  # fmt: skip


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, files, monkeypatch):
        """A folder with the model, where the command runs."""
        (tmp_path / "digits.onnx").write_bytes(MODEL.read_bytes())
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("tinyodl.rehearsal.rehearse.Course", lambda: COURSE)
        return tmp_path

    def command(self, files: Path, *more: str):
        new = str(files / "new.npz")
        arguments = ["rehearse", "digits.onnx", "--board", "host", "--data", new, *more]
        return CliRunner().invoke(commands, arguments)

    def test_the_file_of_options_compiles_to_what_was_taken(self, folder, files):
        old = str(files / "old.npz")
        done = self.command(files, "--old", old, "--json", "-o", "sub/tinyodl.toml", "--ram", "1M")
        assert done.exit_code == 0, done.output
        values = json.loads(done.stdout)
        read = read_config(folder / "sub" / "tinyodl.toml")
        expected = {"board": "host", "ram": 1 << 20, **values["taken"]["options"]}
        if values["taken"]["started"]:
            assert Path(read.pop("start")).resolve() == files / "old.npz"
        assert read == expected

    def test_the_table_the_page_and_the_reason(self, folder, files):
        done = self.command(files)
        assert done.exit_code == 0, done.output
        assert "Take slda: " in done.stdout
        assert "not tried" not in done.stdout.lower()
        page = (folder / "rehearsals" / "digits" / "index.html").read_text()
        assert page.count("<circle") == 2 * 3
        assert page.count('class="taken"') == 3

    def test_a_file_of_somebody_else_stays(self, folder, files):
        (folder / "tinyodl.toml").write_text('board = "host"\n')
        done = self.command(files)
        assert done.exit_code == 0
        assert (folder / "tinyodl.toml").read_text() == 'board = "host"\n'
        done = self.command(files, "-o", "tinyodl.toml")
        assert done.exit_code == 2
        assert "no rehearsal wrote it" in done.stderr
