"""A network in this process: the bits of a board, one state each, many samples in C."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.beside.board import person
from tests.builds import build
from tests.models import WATCH
from tinyodl.compiler import compilation
from tinyodl.device.codes import Draw, Flag
from tinyodl.errors import DataError, ToolError, UserError
from tinyodl.host_run.network import HostNetwork
from tinyodl.planner.lowering import Lowered
from tinyodl.targets.boards import load_board
from tinyodl.targets.firmware import C_FLAGS

EVERYTHING = {
    "sgd": {"query": "auto", "drift": True, "guard": "10", "metrics": True},
    "rls": {"learner": "rls", "query": "auto", "drift": True, "guard": "10"},
    "adam in batches": {"update": "full", "optimizer": "adam", "batch": 4},
    "cache": {"learner": "transfer", "cache": 20, "guard": "10"},
    "cache in flash": {"learner": "transfer", "cache": 20, "cache_memory": "flash"},
    "guard in flash": {"guard": "10", "guard_memory": "flash", "drift": True},
}


QUICK = tuple("-O1" if flag == "-O2" else flag for flag in C_FLAGS)


def quick(made: Lowered, **options) -> HostNetwork:
    """Compiled in less time, to the same bits."""
    return HostNetwork.of(made, flags=QUICK, **options)


def lowered(board: str = "host", **options) -> Lowered:
    return compilation(WATCH, load_board(board), options).lowered


@pytest.fixture(scope="module")
def watch() -> Lowered:
    return lowered()


@pytest.fixture(scope="module")
def built(watch):
    with quick(watch) as made:
        yield made


@pytest.fixture
def net(built):
    """In its state as compiled."""
    built.reset()
    return built


@pytest.fixture(scope="module")
def second(watch):
    with quick(watch) as made:
        yield made


@pytest.fixture
def other(second):
    second.reset()
    return second


def everything(net: HostNetwork) -> dict[str, bytes]:
    saved = net.save()
    return {**saved.parameters, "flash": b"".join(saved.flash)}


@pytest.mark.parametrize("rule", ["rls", "cache"])
def test_a_stream_has_the_bits_of_the_virtual_board(tmp_path, rule):
    """Losses, predictions, flags, and all that is kept, on the very network of the board."""
    project = tmp_path / "project"
    tinyodl.compile(WATCH, "nrf52840_dk", project, **EVERYTHING[rule])
    build(project)
    x, y = person(8, "learn")
    with tinyodl.Session(project, port="virtual") as session:
        told = [session.client.train(a, int(b)) for a, b in zip(x[:40], y[:40], strict=True)]
        kept = [session.client.read_parameter(r.index) for r in session.manifest.parameters]
        output = session.client.infer(x[50])
    with HostNetwork.of(lowered("nrf52840_dk", **EVERYTHING[rule])) as net:
        steps = net.train_all(x[:40], y[:40])
        assert steps.losses.tobytes() == np.float32([s.loss for s in told]).tobytes()
        assert steps.predicted.tolist() == [step.predicted for step in told]
        assert steps.flags.tolist() == [int(step.flags) for step in told]
        assert [value.tobytes() for value in kept] == list(net.state().values())
        assert net.forward(x[50]).tobytes() == output.tobytes()


class TestManySamples:
    def test_in_c_are_what_they_are_one_by_one(self, net, other):
        x, y = person(8, "learn")
        outputs = [net.forward(sample)[0] for sample in x[:30]]
        assert np.array(outputs).tobytes() == other.forward_all(x[:30]).tobytes()
        for made, many in ((net.evaluate, other.evaluate_all), (net.train, other.train_all)):
            found = [
                (made(a, int(b)), net.predicted()) for a, b in zip(x[:30], y[:30], strict=True)
            ]
            steps = many(x[:30], y[:30])
            assert steps.losses.tolist() == [np.float32(loss) for loss, _ in found]
            assert steps.predicted.tolist() == [predicted for _, predicted in found]
        assert net.state() == other.state()

    def test_it_learns_where_it_asks(self):
        x, y = person(8, "learn")
        made = lowered(learner="rls", query="margin:0.2")
        with quick(made) as one, quick(made) as all_:
            for each in (one, all_):
                each.setting("least_trained", 40)
            steps = all_.ask_all(x[:200], y[:200])
            for i in range(200):
                question = one.ask(x[i])
                assert int(question.flags) == steps.flags[i]
                if Flag.WANTED in question.flags:
                    assert one.learn(int(y[i])) == steps.losses[i]
                else:
                    assert np.isnan(steps.losses[i])
            assert one.state() == all_.state()
            assert 0 < np.isnan(steps.losses).sum() < 200

    def test_stop_at_a_label_that_the_network_does_not_take(self, net, other):
        x, y = person(8, "learn")
        bad = y[:10].copy()
        bad[6] = 99
        with pytest.raises(DataError, match="sample 6 has label 99"):
            net.train_all(x[:10], bad)
        other.train_all(x[:6], y[:6])
        assert net.state() == other.state()

    def test_of_another_shape_are_refused(self, net):
        with pytest.raises(DataError, match="has shape"):
            net.forward_all(np.zeros((4, 5), np.float32))
        with pytest.raises(DataError, match="labels are whole numbers"):
            net.train_all(person(8, "learn")[0][:4], np.zeros(3, int))


class TestState:
    def test_two_networks_share_none(self, net, other):
        """Not even of the same C, which a loader would load once."""
        x, y = person(8, "learn")
        before = other.state()
        assert net.state() == before
        net.train_all(x[:20], y[:20])
        net.learning_rate(0.5)
        assert other.state() == before != net.state()
        assert other.learning_rate() != 0.5

    def test_two_in_the_same_folder_share_none(self, watch, tmp_path):
        x, y = person(8, "learn")
        learns, stays = (quick(watch, folder=tmp_path) for _ in range(2))
        learns.train_all(x[:20], y[:20])
        assert stays.state() != learns.state()

    @pytest.mark.parametrize("rule", EVERYTHING)
    def test_restored_the_same_samples_give_the_same_bits(self, rule):
        x, y = person(8, "learn")
        with quick(lowered(**EVERYTHING[rule])) as net:
            net.train_all(x[:45], y[:45])
            saved = net.save()
            told, ended = [], []
            for _ in range(2):
                told.append(net.train_all(x[45:90], y[45:90]))
                ended.append(everything(net))
                net.restore(saved)
                assert net.save() == saved
            assert told[0].losses.tobytes() == told[1].losses.tobytes()
            assert told[0].flags.tolist() == told[1].flags.tolist()
            assert ended[0] == ended[1] != dict(saved.parameters)

    def test_reset_is_as_compiled(self, net):
        x, y = person(8, "learn")
        before = net.save()
        net.train_all(x[:20], y[:20])
        net.learning_rate(0.25)
        net.reset()
        assert net.save() == before

    def test_of_another_network_is_refused(self, net):
        other = quick(lowered(update="full"))
        with pytest.raises(DataError, match="other parameters"):
            net.restore(other.save())

    def test_a_parameter_is_read_and_replaced(self, net):
        name = net.parameters[0].name
        values = net.parameter(name)
        net.write_parameter(name, values + 1)
        assert np.array_equal(net.parameter(name), values + 1)
        with pytest.raises(DataError, match="of shape"):
            net.write_parameter(name, values.ravel()[:3])
        with pytest.raises(UserError, match="keeps no 'nothing'"):
            net.parameter("nothing")

    def test_settings_have_their_range(self):
        with quick(lowered(guard="10")) as net:
            assert net.setting("guard_every", 20) == net.setting("guard_every") == 20
            with pytest.raises(DataError, match="from 2 to 65536"):
                net.setting("guard_every", 1)
            with pytest.raises(DataError, match="no setting 'size'"):
                net.setting("size")


class TestReplay:
    def test_learns_from_what_is_kept(self):
        x, y = person(8, "learn")
        with quick(lowered(**EVERYTHING["cache"])) as net:
            net.train_all(x[:40], y[:40])
            before = net.state()
            samples, loss = net.replay(3, Draw.BALANCED)
            assert samples > 0 and np.isfinite(loss)
            assert net.state() != before

    def test_is_refused_without_a_cache(self, net):
        with pytest.raises(UserError, match="'cache'"):
            net.replay(1, Draw.BALANCED)


class TestTheLibrary:
    def test_leaves_no_file(self, watch, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with quick(watch) as net:
            net.forward(np.zeros(net.layout.inputs[0].shape, np.float32))
            assert list(tmp_path.iterdir()) == []

    def test_is_gone_when_closed(self, watch):
        net = quick(watch)
        net.close()
        with pytest.raises(UserError, match="closed"):
            net.forward(np.zeros(net.layout.inputs[0].shape, np.float32))

    @pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
    def test_is_unloaded_with_its_network(self, watch):
        def loaded() -> int:
            maps = Path("/proc/self/maps").read_text()
            return len({line.split()[5] for line in maps.splitlines() if "/net-" in line})

        gc.collect()
        before = loaded()
        nets = [quick(watch) for _ in range(2)]
        assert before < loaded()
        for net in nets:
            net.close()
        gc.collect()
        assert loaded() == before

    def test_needs_a_compiler(self, watch, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.setenv("TINYODL_COMPILER", "gcc")
        with pytest.raises(ToolError, match="install gcc"):
            quick(watch)

    def test_says_what_the_compiler_says(self, watch):
        with pytest.raises(ToolError, match="no-such-option"):
            quick(watch, compiler=("gcc", "--no-such-option"))
