"""Outliers: what is far outside the samples before is predicted and named, and never learned."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compilednet import CompiledNet as Net
from tests.frontend.models import node, saved, weights
from tests.frontend.quantized_models import Builder
from tests.models import WATCH
from tests.projects import built, flat_model
from tests.test_autoencoders import autoencoder
from tinyodl.compiler import compilation
from tinyodl.device.codes import Flag
from tinyodl.errors import UserError
from tinyodl.learning.outliers import (
    FACTOR,
    FIRST,
    IN_A_ROW,
    REACH,
    are_outliers,
    first_reach,
    grown,
    peaks,
)
from tinyodl.project.manifest import load
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.report import report_html
from tinyodl.resources import EXAMPLES
from tinyodl.runs import log as runlog
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

DATA = Path(__file__).parent / "data"


def person(number: int, part: str = "learn") -> tuple[np.ndarray, np.ndarray]:
    with np.load(EXAMPLES / "watch" / f"person{number}_{part}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(int)


# The rule


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Net:
    folder = tmp_path_factory.mktemp("flat")
    return Net(flat_model(folder / "flat.onnx"), folder / "net")


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


class TestTheRule:
    @settings(
        max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        samples=st.lists(st.lists(FLOATS, min_size=4, max_size=4), min_size=1, max_size=12),
        factor=st.sampled_from([0.0, 1.0, FACTOR, 1e6]),
    )
    def test_host_and_board_decide_alike(self, flat, samples, factor):
        flat.library.net_reset()
        flat.setting("outlier_factor", factor)
        reach = np.zeros(1, np.float32)
        for values in samples:
            x = np.array(values, np.float32)
            peak = peaks(x[None], [4])[0]
            outlier = are_outliers(peak, reach, np.float32(factor)).any()
            reach = reach if outlier else grown(peak, reach)
            flat.train(x, 0)
            assert (Flag.OUTLIER in flat.flags) == outlier
            assert flat.parameter(REACH).tobytes() == reach.tobytes()

    def test_in_numbers(self, flat):
        def train(value: float) -> tuple[bool, float]:
            flat.train(np.array([0, -value, 0, value / 2], np.float32), 1)
            return Flag.OUTLIER in flat.flags, float(flat.parameter(REACH)[0])

        flat.library.net_reset()
        assert train(0.0) == (False, 0.0)  # silence is no range
        assert train(1.0) == (False, 1.0)
        assert train(32.0) == (False, 2.0)  # at the factor it counts, and moves the reach by 2
        assert train(64.5) == (True, 2.0)
        assert train(3.0) == (False, 3.0)
        assert train(1.0) == (False, 3.0)
        assert train(math.nan) == (True, 3.0)

    def test_one_bad_sample_among_the_first_is_seen(self):
        good = np.full((FIRST, 1), 16, np.float32)
        for bad in (9999, 0, 1e-6):
            for place in (0, 7, FIRST - 1):
                first = good.copy()
                first[place] = bad
                assert first_reach(first) == 16
        assert first_reach(np.zeros((FIRST, 2), np.float32)).tolist() == [0, 0]
        assert first_reach(np.array([[9999], [16]], np.float32)) == 16

    def test_a_bad_sample_behind_a_long_silence_is_seen(self):
        silence = np.zeros((2 * FIRST, 1), np.float32)
        good = np.full((FIRST, 1), 16, np.float32)
        bad = np.array([[9999]], np.float32)
        assert first_reach(np.concatenate([silence, bad, good])) == 16


# No false alarm


def _watch() -> np.ndarray:
    return np.concatenate([person(n, part)[0] for n in (8, 9, 10) for part in ("learn", "test")])


def _digits() -> np.ndarray:
    with np.load(DATA / "sklearn_digits_8x8.npz") as data:
        return data["x"].astype(np.float32)


def _motions() -> np.ndarray:
    with np.load(DATA / "ucr_BasicMotions.npz") as data:
        return np.concatenate([data["x_train"], data["x_test"]]).astype(np.float32)


@pytest.mark.parametrize("read", [_watch, _digits, _motions])
def test_no_clean_stream_has_an_outlier(read):
    x = read()
    found = peaks(x.reshape(len(x), -1), [x[0].size])
    for seed in range(20):
        order = np.arange(len(x)) if seed == 0 else np.random.default_rng(seed).permutation(len(x))
        reach = first_reach(found[order[:FIRST]])
        for peak in found[order]:
            assert not are_outliers(peak, reach, np.float32(FACTOR)).any()
            reach = grown(peak, reach)


# A board that is sent an outlier


def several_inputs(folder: Path) -> Path:
    """An ONNX file with the inputs `left`, 3 values, and `right`, 5."""
    floats = onnx.TensorProto.FLOAT
    nodes = [
        node("Concat", ["left", "right"], "both", axis=1),
        onnx.helper.make_node("Gemm", ["both", "w", "b"], ["y"], name="dense", transB=1),
    ]
    held = {"w": weights(3, 8), "b": weights(3)}
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [
            onnx.helper.make_tensor_value_info(name, floats, [1, size])
            for name, size in (("left", 3), ("right", 5))
        ],
        [onnx.helper.make_tensor_value_info("y", floats, [1, 3])],
        [onnx.numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in held.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return saved(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder)


def quantized_twice(folder: Path) -> Path:
    """An image (1, 3, 24, 24) that is float32 on the board, and worked on as it arrives."""
    b = Builder("int8")

    def convolved(x: str) -> str:
        weight = b.hold(b.integers("int8", 4, 3, 3, 3))
        real = b.add("DequantizeLinear", weight, *b.steps(b.scales(4), 0, "int8"), axis=0)
        return b.rounded(b.add("Conv", x, real, strides=[2, 2], pads=[1] * 4), 0.05, 3)

    sides = [convolved(b.rounded("x", scale, 5)) for scale in (0.02, 0.03)]
    pooled = b.add("GlobalAveragePool", b.rounded(b.add("Add", *sides), 0.1, 0))
    flat = b.add("Flatten", b.rounded(pooled, 0.1, 0))
    y = b.add("Gemm", flat, b.hold(weights(5, 4)), transB=1)
    return saved(b.built([1, 3, 24, 24], y), folder)


@dataclass(frozen=True)
class Case:
    """A learner, with what it learns from: labels, or vectors of `targets` values."""

    options: dict[str, Any]
    labels: int = 2
    targets: int = 0


BESIDE = {"drift": True, "guard": "3", "metrics": True}
CASES = {
    "sgd": Case({}),
    "sgd, everything": Case({"update": "full", "batch": 3}),
    "momentum": Case({"optimizer": "momentum"}),
    "adam": Case({"optimizer": "adam", "batch": 4}),
    "mse": Case({"loss": "mse"}, targets=2),
    "rls": Case({"learner": "rls", "query": "auto", **BESIDE}),
    "elm": Case({"learner": "elm", "hidden": 8, **BESIDE}),
    "online": Case({"learner": "online", "forgetting": 0.9, **BESIDE}),
    "labels as they come": Case({"learner": "online", "max_classes": 4, "query": "always"}, 4),
    "transfer": Case({"learner": "transfer", "classes": 2, "cache": 4, "cache_policy": "ring"}),
    "transfer, guarded": Case({"learner": "transfer", "cache": 6, "replay": 3, **BESIDE}),
    "transfer, in flash": Case({"learner": "transfer", "cache": 8, "cache_memory": "flash"}),
}
BAD = {"-9999": -9999.0, "1e30": 1e30, "infinity": math.inf, "no number": math.nan}


class TestTheBoard:
    @pytest.mark.parametrize("name", CASES)
    def test_an_outlier_changes_no_bit(self, tmp_path, name):
        """And what it is told is what EVALUATE says."""
        case = CASES[name]
        net = Net(flat_model(tmp_path / "flat.onnx"), tmp_path / "net", **case.options)
        self._run(net, (4,), case)

    def test_of_an_autoencoder_changes_no_bit(self, tmp_path):
        options = {"loss": "reconstruction", "update": "full", "drift": False}
        net = Net(autoencoder(tmp_path), tmp_path / "net", **options)
        self._run(net, (8,), Case(options))

    @pytest.mark.parametrize("piece", [1 << 30, 10])
    def test_that_comes_row_by_row_changes_no_bit(self, tmp_path, piece):
        net = Net(quantized_twice(tmp_path), tmp_path / "net")
        assert net.layout.by_rows and net.layout.inputs[0].dtype == "float32"
        net.piece = piece
        self._run(net, (3, 24, 24), Case({}, 5))

    @staticmethod
    def _run(net: Net, shape: tuple[int, ...], case: Case) -> None:
        random = np.random.default_rng(0)
        outliers = 0
        for step in range(24):
            x = random.uniform(-1, 1, shape).astype(np.float32)
            label = int(random.integers(case.labels))
            target = random.normal(size=case.targets).astype(np.float32) if case.targets else None
            if step % 3 == 2:
                before = net.state()
                x[tuple(random.integers(shape))] = list(BAD.values())[step // 3 % len(BAD)]
                loss = net.train(x, label, target)
                assert net.flags == Flag.OUTLIER
                assert net.state() == before
                predicted = net.predicted()
                assert np.float32(net.evaluate(x, label, target)).tobytes() in (
                    np.float32(loss).tobytes(),
                    np.float32(-loss).tobytes(),  # a NaN has a sign
                )
                assert net.predicted() == predicted
                outliers += 1
            else:
                net.train(x, label, target)
                assert Flag.OUTLIER not in net.flags
        assert outliers == 8

    def test_learns_as_if_it_had_not_come(self, tmp_path):
        path = flat_model(tmp_path / "flat.onnx")
        options = {"learner": "online", **BESIDE}
        nets = [Net(path, tmp_path / name, **options) for name in ("with", "without")]
        random = np.random.default_rng(0)
        for _ in range(20):
            x = random.uniform(-1, 1, 4).astype(np.float32)
            nets[0].train(1e4 * x + 1e4, 1)
            for net in nets:
                net.train(x, int(x.sum() > 0))
            nets[0].train(1e4 * x + 1e4, 0)
        # The first sample of all is the range: there both begin alike.
        assert nets[0].state() != nets[1].state()
        for net in nets:
            net.library.net_reset()
            net.train(np.ones(4, np.float32), 1)
        for _ in range(20):
            x = random.uniform(-1, 1, 4).astype(np.float32)
            nets[0].train(1e4 * x + 1e4, 1)
            for net in nets:
                net.train(x, int(x.sum() > 0))
        assert nets[0].state() == nets[1].state()

    def test_does_not_ask_about_an_outlier(self, tmp_path):
        net = Net(
            flat_model(tmp_path / "flat.onnx"),
            tmp_path / "net",
            learner="rls",
            query="always",
            drift=True,
        )
        assert Flag.WANTED in net.ask(np.ones(4)).flags
        net.library.net_learn(0)
        before = net.state()
        assert net.ask(np.array([1, 2, -9999, 1])).flags == Flag.OUTLIER
        assert math.isnan(net.library.net_learn(1)) and net.flags == Flag.OUTLIER
        assert net.state() == before
        assert Flag.WANTED in net.ask(np.zeros(4)).flags
        assert not math.isnan(net.library.net_learn(1))
        assert net.state() != before

    def test_has_a_range_for_each_input(self, tmp_path):
        net = Net(several_inputs(tmp_path), tmp_path / "net")
        left, right = np.array([1, 0, 0]), np.array([0, 1000, 0, 0, 0])

        def is_outlier(left: np.ndarray, right: np.ndarray) -> bool:
            net.train((left.astype(np.float32), right.astype(np.float32)), 0)
            return Flag.OUTLIER in net.flags

        assert not is_outlier(left, right)
        assert is_outlier(100 * left, right) and is_outlier(left, 100 * right)
        assert net.parameter(REACH).tolist() == [1, 1000]
        assert not is_outlier(2 * left, 2 * right)
        assert net.parameter(REACH).tolist() == [2, 2000]

    def test_learns_from_all_where_the_plan_keeps_outliers(self, tmp_path):
        made = compilation(
            flat_model(tmp_path / "flat.onnx"), load_board("host"), {"outliers": "keep"}
        )
        assert REACH not in made.lowered.training.tensors and not made.manifest.settings
        assert "outlier" not in made.network.files["net.c"]
        (tmp_path / "plan.toml").write_text(dump_plan(made.manifest.plan))
        assert load_plan(tmp_path / "plan.toml") == made.manifest.plan

    def test_takes_four_bytes_an_input_and_four_for_the_setting(self, tmp_path):
        for path, inputs in (
            (flat_model(tmp_path / "flat.onnx"), 1),
            (several_inputs(tmp_path), 2),
        ):
            ram = [
                compilation(path, load_board("host"), {"outliers": outliers}).manifest.ram.total
                for outliers in ("skip", "keep")
            ]
            assert ram[0] - ram[1] <= 4 * inputs + 8

    def test_begins_behind_the_samples_that_it_starts_from(self, tmp_path):
        x = np.random.default_rng(0).uniform(-3, 3, (40, 4)).astype(np.float32)
        x[0, 0], x[5, 1] = -3.5, 1e6
        np.savez(tmp_path / "start.npz", x=x, y=np.arange(40) % 2)
        path = flat_model(tmp_path / "flat.onnx")
        net = Net(path, tmp_path / "net", learner="rls", start=tmp_path / "start.npz")
        assert net.parameter(REACH) == np.float32(3.5)
        net.train(np.array([0, 0, 113, 0], np.float32), 0)
        assert net.flags == Flag.OUTLIER


# A run


@pytest.fixture(scope="module")
def digits_built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    path = Path(__file__).parent / "models" / "digits_mlp_64_32_10.onnx"
    return built(path, "host", folder / "digits", learning_rate=0.02)


@pytest.fixture
def digits(digits_built, tmp_path):
    with Session(shutil.copytree(digits_built, tmp_path / "digits"), port="host") as session:
        yield session


def digit_samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(DATA / "sklearn_digits_8x8.npz") as data:
        return (data["x"].reshape(-1, 64)[:count] / 16).astype(np.float32), data["y"][:count]


def learned(session: Session) -> list[bytes]:
    return [session.client.read_parameter(p.index).tobytes() for p in session.manifest.parameters]


class TestARun:
    @pytest.mark.parametrize("place", [0, 15, 150, 299])
    def test_is_as_if_the_bad_sample_were_not_there(self, digits, tmp_path, place):
        x, y = digit_samples(300)
        digits.train(np.delete(x, place, 0), np.delete(y, place), run=tmp_path / "clean")
        wanted = learned(digits)
        digits.reset()
        x[place, 5] = -9999
        notes = []
        done = digits.train(
            x, y, run=tmp_path / "run", source="bad.npz", progress=lambda p: notes.append(p.note)
        )
        assert learned(digits) == wanted
        assert done.status == "done" and done.saved
        assert [(e.step, e.name) for e in done.events] == [(place, "outlier")]
        [told] = [note for note in notes if note]
        assert told == (
            f"sample {place} of bad.npz: value -9999 at 5, and those before reach 1: "
            "it is predicted, not learned"
        )
        run = runlog.read(tmp_path / "run")
        assert run.record.outliers[0].sample == place
        assert not run.steps[place].learned and run.steps[place].label == y[place]
        sentence = f"1 of 300 samples of bad.npz are outliers, sample {place} (value -9999 at 5;"
        assert sentence in report_html([run])

    def test_ends_at_ten_in_a_row(self, digits, tmp_path):
        x, y = digit_samples(60)
        x[30:] *= 255
        with pytest.raises(UserError) as error:
            digits.train(x, y, run=tmp_path / "run", source="pixels.csv")
        text = str(error.value)
        assert "these samples do not look like those before" in text
        assert "rows 30, 31, " in text and "39 of pixels.csv" in text and "--keep-outliers" in text
        assert "255" in text and "reach 1," in text
        assert "learned from 30 samples before is saved" in text
        assert digits.client.hello().generation > 0
        run = runlog.read(tmp_path / "run")
        assert run.record.status == "failed" and len(run.record.outliers) == 8
        assert len(run.steps) == 30 + IN_A_ROW - 1
        digits.reset()
        digits.train(x[:30], y[:30], run=tmp_path / "clean")

    def test_goes_on_where_good_samples_lie_between(self, digits, tmp_path):
        x, y = digit_samples(100)
        x[20:60:2] *= 1000
        done = digits.train(x, y, run=tmp_path / "run")
        assert len(done.events) == 20 and done.status == "done"
        assert len(runlog.read(tmp_path / "run").record.outliers) == 8

    def test_keeps_outliers_on_request_and_puts_the_factor_back(self, digits, tmp_path):
        x, y = digit_samples(40)
        x[30, 5] = 40
        gated = digits.train(x, y, run=tmp_path / "gated")
        assert len(gated.events) == 1
        digits.reset()
        kept = digits.train(x, y, run=tmp_path / "kept", keep_outliers=True)
        assert kept.events == () and digits.client.setting("outlier_factor") == FACTOR
        run = runlog.read(tmp_path / "kept")
        assert run.record.keep_outliers and "--keep-outliers" in report_html([run])
        assert len(digits.train(80 * x[:9], y[:9], run=tmp_path / "again").events) == 9

    def test_counts_what_the_board_had_seen_before(self, digits, tmp_path):
        """Also over a restart: the store keeps it."""
        x, y = digit_samples(20)
        digits.train(x, y, run=tmp_path / "first")
        digits.client.reboot()
        assert len(digits.train(40 * x[:5], y[:5], run=tmp_path / "second").events) == 5
        digits.reset()
        assert not digits.train(40 * x[:5], y[:5], run=tmp_path / "third").events

    def test_believes_the_board(self, digits, tmp_path, monkeypatch):
        """Which calls a sample an outlier that the host takes for none."""
        x, y = digit_samples(20)
        x[10, 3] = 500
        monkeypatch.setattr(
            "tinyodl.samples.gate.are_outliers", lambda peak, *_: np.zeros(len(peak), bool)
        )
        done = digits.train(x, y, run=tmp_path / "run")
        assert [event.step for event in done.events] == [10]
        assert runlog.read(tmp_path / "run").record.outliers[0].value == 500


def test_an_int8_input_is_gated_by_the_host(tmp_path):
    """Its values saturate on the board, whose range the calibration says."""
    x, y = person(8)
    np.savez(tmp_path / "samples.npz", x=x[:60])
    folder = built(
        WATCH, "host", tmp_path / "p", precision="int8", calibrate=tmp_path / "samples.npz",
        learning_rate=0.02,
    )  # fmt: skip
    assert REACH not in [p.name for p in load(folder).parameters]
    with Session(folder, port="host") as session:
        session.train(np.delete(x, 50, 0), np.delete(y, 50), run=tmp_path / "clean")
        wanted = learned(session)
        session.reset()
        bad = x.copy()
        bad[50, 2, 0, 7] = 1e6
        done = session.train(bad, y, run=tmp_path / "run")
        assert [event.step for event in done.events] == [50]
        assert runlog.read(tmp_path / "run").record.outliers[0].index == (2, 0, 7)
        assert learned(session) == wanted
        with pytest.raises(UserError, match="the calibration reaches"):
            session.train(1e4 * x, y, run=tmp_path / "units")


def test_labels_on_request_are_not_asked_for(tmp_path):
    x, y = person(8)
    folder = built(WATCH, "host", tmp_path / "p", learner="rls", query="always", drift=True)
    with Session(folder, port="host") as session:
        session.train(np.delete(x, 50, 0), np.delete(y, 50), query=True, run=tmp_path / "clean")
        wanted = learned(session)
        session.reset()
        bad = x.copy()
        bad[50] = -9999
        done = session.train(bad, y, query=True, run=tmp_path / "run")
        assert done.asked == len(x) - 1 and [e.step for e in done.events] == [50]
        assert learned(session) == wanted


@pytest.mark.parametrize("reboots", [False, True])
def test_on_the_virtual_board_an_outlier_changes_no_bit(watch_nrf, reboots):
    x, y = person(8)
    with Session(watch_nrf, port="virtual") as session:
        for row in range(3):
            session.client.train(x[row], int(y[row]))
        if reboots:
            session.client.save()
            session.client.reboot()
        before = learned(session)
        for bad in (-9999.0, 1e30):
            sample = x[3].copy()
            sample[5, 0, 99] = bad
            reply = session.client.train(sample, int(y[3]))
            assert reply.flags == Flag.OUTLIER and reply.cycles_update == 0
            assert learned(session) == before
            assert session.client.statistics().steps == 3
        assert session.client.train(x[3], int(y[3])).flags == Flag(0)
        assert learned(session) != before
