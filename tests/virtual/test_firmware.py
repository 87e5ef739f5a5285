"""A generated project on the virtual boards: its own counts, bad lines, saves and reboots."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.device.lines import Dropper, Fault
from tests.projects import built, flat_model, require_arm_compiler
from tinyodl import virtual
from tinyodl.device.client import Client
from tinyodl.device.codes import ClockSource
from tinyodl.project import manifest
from tinyodl.targets.boards import load_board
from tinyodl.virtual.counts import Count
from tinyodl.virtual.unicorn_board import UnicornBoard

BOARDS = ("nrf52840_dk", "netduinoplus2")
STEPS = 30


class LossyLine:
    """A Transport that damages what passes. Its time passes only while nothing comes."""

    def __init__(
        self, board: UnicornBoard, to_board: Fault = bytes, to_host: Fault = bytes
    ) -> None:
        self.name = f"a bad line to {board.name}"
        self._board = board
        self._to_board = to_board
        self._to_host = to_host
        self.now = 0.0

    def write(self, data: bytes) -> None:
        self._board.write(self._to_board(data))

    def read(self, timeout: float) -> bytes:
        data = self._to_host(self._board.read(timeout))
        if not data:
            self.now += timeout
        return data

    def close(self) -> None:
        self._board.close()


@pytest.fixture(scope="module", params=BOARDS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_arm_compiler()
    folder = tmp_path_factory.mktemp(request.param)
    model = flat_model(folder / "flat.onnx", inputs=60, outputs=5)
    return built(model, request.param, folder / "project", learning_rate=0.05)


def boot(project: Path) -> UnicornBoard:
    return virtual.boot(project, load_board(manifest.load(project).board))


def train(client: Client) -> list[float]:
    random = np.random.default_rng(7)
    return [
        client.train(random.normal(size=(1, 60)).astype(np.float32), step % 5).loss
        for step in range(STEPS)
    ]


# Numbers of the bytes that are lost, to the board and to the host.
LOSSES = {
    "none": ((), ()),
    "to board": (range(150, 12000, 611), ()),
    "to host": ((), range(40, 2000, 97)),
    "both ways": (range(100, 12000, 977), range(55, 2000, 173)),
}


def test_training_over_a_line_that_loses_bytes_is_the_same_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {}
    disturbed = {}
    for name, (to_board, to_host) in LOSSES.items():
        (project / virtual.STORE_FILE).unlink(missing_ok=True)
        with boot(project) as board, monkeypatch.context() as patch:
            line = LossyLine(board, Dropper(*to_board), Dropper(*to_host))
            clock = SimpleNamespace(monotonic=lambda line=line: line.now)
            patch.setattr("tinyodl.device.link.time", clock)
            client = Client(line, manifest.load(project))
            losses = train(client)
            statistics = client.statistics()
            results[name] = (losses, client.read_parameter(0).tobytes(), statistics.steps)
            disturbed[name] = statistics.bad_frames + statistics.repeats
    assert all(result == results["none"] for result in results.values())
    assert results["none"][2] == STEPS
    assert disturbed["none"] == 0
    assert all(disturbed[name] >= 5 for name in LOSSES if name != "none")


def test_the_board_counts_as_the_machine_does(project: Path) -> None:
    """The firmware reads the cycle counter, the machine watches the pins: two ways to one number,
    apart from the few instructions between the two."""
    with boot(project) as board:
        client = Client(board, manifest.load(project))
        assert client.hello().clock_source is ClockSource.DWT
        before = board.counters()
        reply = client.train(np.ones((1, 60), np.float32), 2)
        after = board.counters()
    for phase, counted in (
        ("forward", reply.cycles_forward),
        ("backward", reply.cycles_backward),
        ("update", reply.cycles_update),
    ):
        spent = _difference(after[phase], before[phase])
        assert 0 < spent.instructions < spent.cycles
        assert abs(spent.cycles - counted) <= 30


def _difference(after: Count, before: Count) -> Count:
    return Count(after.instructions - before.instructions, after.cycles - before.cycles)


def test_what_was_learned_survives_the_power(project: Path) -> None:
    (project / virtual.STORE_FILE).unlink(missing_ok=True)
    with boot(project) as board:
        client = Client(board, manifest.load(project))
        train(client)
        learned = client.read_parameter(0)
        assert client.save() == 1
        client.train(np.ones((1, 60), np.float32), 0)  # not saved
    with boot(project) as board:
        client = Client(board, manifest.load(project))
        assert client.hello().restored
        assert np.array_equal(client.read_parameter(0), learned)
        client.reboot()
        assert client.hello().restored
        assert np.array_equal(client.read_parameter(0), learned)
