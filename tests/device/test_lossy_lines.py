"""Bad lines of every kind: every run ends with the bits of an undisturbed one, or says why not.

The table of `benchmarks/line.py` in small. Lines keep a time of their own, so no test waits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.builds import build
from tests.device import bench
from tests.device.bench import Server
from tests.device.lines import KINDS, RATES, Faults, MemoryLine, PacedLine, keep_time
from tests.projects import flat_model
from tinyodl.device import Client
from tinyodl.device.codes import Status
from tinyodl.device.link import PATIENCE
from tinyodl.device.transport import Transport
from tinyodl.errors import BoardError, LineLostError
from tinyodl.graph import Array
from tinyodl.project import manifest as mf
from tinyodl.virtual.host import PROGRAM, HostTransport

DIGITS = Path(__file__).parents[1] / "data/sklearn_digits_8x8.npz"
PACE = 11_520.0  # bytes a second: 115,200 baud
LATENCY = 0.016  # of a USB bridge

Sample = tuple[Array, int]


def samples(count: int) -> list[Sample]:
    """Digits of 64 numbers, in the three classes of the bench."""
    with np.load(DIGITS) as data:
        x = (data["x"][:count].reshape(count, 64) / 16).astype(np.float32)
        return list(zip(x, (data["y"][:count] % 3).tolist(), strict=True))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server with 64 inputs."""
    return bench.build_library(tmp_path_factory.mktemp("digits"), "-DFAKE_INPUTS=64")


def train(client: Client, stream: list[Sample]) -> None:
    for (x, label), then in pairwise([*stream, None]):  # type: ignore[misc]
        client.train(x, label, then)


def run(
    library: Path, stream: list[Sample], kind: str = "drop", rate: float = 0.0, seed: int = 0
) -> tuple[bytes, Client, PacedLine]:
    """The state of a board after a stream over a line with faults in both directions."""
    server = Server(library)
    line = PacedLine(
        server.exchange, pace=PACE,
        to_board=Faults(kind, rate, seed), to_host=Faults(kind, rate, seed + 1),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        keep_time(line, patch)
        client = Client(line, bench.manifest(64), sequence=7)
        train(client, stream)
        assert client.statistics().trained == len(stream)
    return server.state(), client, line


# What holds on every line


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_run_over_a_bad_line_ends_with_the_same_weights(
    digits: Path, kind: str, rate: float
) -> None:
    stream = samples(40)
    assert run(digits, stream, kind, rate)[0] == run(digits, stream)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_a_thousand_bytes_costs_a_quarter_more_at_most(digits: Path, kind: str) -> None:
    """Of the bytes of an undisturbed run, on average over five lines."""
    stream = samples(300)
    clean = run(digits, stream)[1]
    runs = [run(digits, stream, kind, 0.001, seed)[1] for seed in range(0, 10, 2)]
    used = np.mean([client.sent + client.received for client in runs])
    assert used <= 1.25 * (clean.sent + clean.received)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_read_and_written_over_a_line_as_bad(digits: Path, kind: str) -> None:
    server = Server(digits)
    line = PacedLine(
        server.exchange, pace=PACE, to_board=Faults(kind, 0.01, 3), to_host=Faults(kind, 0.01, 4)
    )
    with pytest.MonkeyPatch.context() as patch:
        keep_time(line, patch)
        client = Client(line, bench.manifest(64), sequence=7)
        values = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
        client.write_parameter(0, values)
        np.testing.assert_array_equal(client.read_parameter(0), values)
        output = client.infer(samples(1)[0][0])
    reference = Client(MemoryLine(Server(digits)), bench.manifest(64))
    reference.write_parameter(0, values)
    np.testing.assert_array_equal(output, reference.infer(samples(1)[0][0]))


def test_every_network_of_the_bench_takes_it(
    mse_library: Path, by_rows_library: Path, int8_library: Path
) -> None:
    random = np.random.default_rng(0)
    for library, manifest, x, y in (
        (mse_library, bench.manifest(mse=True), (30, 4), random.normal(size=(30, 3))),
        (by_rows_library, bench.manifest(40, by_rows=True), (10, 2, 40, 3), [0, 2] * 5),
        (int8_library, bench.manifest(int8=True), (30, 4), [0, 1, 2] * 10),
    ):
        stream = list(zip(random.normal(size=x).astype(np.float32), y, strict=True))
        states = []
        for rate in (0.0, 0.01):
            server = Server(library)
            line = MemoryLine(server, Faults("flip", rate, 1), Faults("drop", rate, 2))
            with pytest.MonkeyPatch.context() as patch:
                keep_time(line, patch)
                train(Client(line, manifest, sequence=7), stream)
            states.append(server.state())
        assert states[0] == states[1]


def test_the_host_build_of_a_real_network_takes_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    tinyodl.compile(flat_model(tmp_path / "flat.onnx", 64, 10), "host", project, update="full")
    build(project)
    stream = samples(40)
    learned = []
    for kind, rate in (("drop", 0.0), *((kind, rate) for kind in KINDS for rate in (0.001, 0.01))):
        line = Spoiled(HostTransport(project / PROGRAM), kind, rate)
        client = Client(line, mf.load(project), sequence=7)
        train(client, stream)
        learned.append(b"".join(client.read_parameter(index).tobytes() for index in range(2)))
        client.close()
    assert set(learned) == {learned[0]}


class Spoiled:
    """A transport with faults on its way."""

    def __init__(self, transport: Transport, kind: str, rate: float) -> None:
        self.name = "spoiled"
        self._transport = transport
        self._there = Faults(kind, rate, 1)
        self._back = Faults(kind, rate, 2)

    def write(self, data: bytes) -> None:
        self._transport.write(self._there(data))

    def read(self, timeout: float) -> bytes:
        return self._back(self._transport.read(timeout))

    def close(self) -> None:
        self._transport.close()


# One exchange for each step


@pytest.mark.parametrize("pace", [11_520.0, 100_000.0])
def test_a_step_waits_for_the_line_once(
    digits: Path, monkeypatch: pytest.MonkeyPatch, pace: float
) -> None:
    """Two round trips with all bytes one after the other is what it took before."""
    server = Server(digits)
    line = PacedLine(server.exchange, pace=pace, latency=LATENCY)
    keep_time(line, monkeypatch)
    client = Client(line, bench.manifest(64), sequence=7)
    stream = samples(50)
    train(client, stream[:1])
    start, used = line.now, client.sent + client.received
    train(client, stream)
    seconds = (line.now - start) / len(stream)
    written, answered, trained, replied = 274, 10, 14, 34
    before = (written + answered + trained + replied) / pace + 2 * LATENCY
    assert seconds < before / 2
    assert (client.sent + client.received - used) / len(stream) < written + answered + 14 + replied


def test_a_sample_sent_ahead_may_be_another_one_then(digits: Path) -> None:
    stream = samples(6)
    states = []
    for liar in (False, True):
        server = Server(digits)
        client = Client(MemoryLine(server), bench.manifest(64), sequence=7)
        for (x, label), other in zip(stream[:5], reversed(stream[1:]), strict=True):
            client.train(x, label, other if liar else None)
        states.append(server.state())
    assert states[0] == states[1]


def test_other_requests_may_come_between_a_sample_and_its_step(digits: Path) -> None:
    stream = samples(3)
    states = []
    for calls in (False, True):
        server = Server(digits)
        client = Client(MemoryLine(server), bench.manifest(64), sequence=7)
        for (x, label), then in pairwise(stream):
            client.train(x, label, then)
            if calls:
                client.learning_rate()
        states.append(server.state())
    assert states[0] == states[1]


# Patience


@pytest.fixture
def greeted(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Client, MemoryLine]:
    line = MemoryLine(server)
    keep_time(line, monkeypatch)
    client = Client(line, bench.manifest(), sequence=7)
    client.hello()
    return client, line


@pytest.mark.parametrize("patience", [1.0, 15.0, 60.0])
def test_patience_is_time_without_an_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    line = MemoryLine(server)
    keep_time(line, monkeypatch)
    client = Client(line, bench.manifest(), patience=patience)
    client.hello()
    line.to_host = lambda data: b""
    with pytest.raises(LineLostError):
        client.statistics()
    assert line.now == pytest.approx(patience + 2)


def test_a_line_that_is_back_within_the_patience_goes_on(
    greeted: tuple[Client, MemoryLine], server: Server
) -> None:
    client, line = greeted
    line.to_board = lambda data: data if line.now > PATIENCE - 1 else b""
    assert client.train(np.ones(4, np.float32), 1).loss > 0
    assert client.statistics().trained == 1


def test_a_session_goes_on_after_a_line_that_was_given_up(
    greeted: tuple[Client, MemoryLine],
) -> None:
    """Whether or not the last request had arrived."""
    client, line = greeted
    for broken in ("to_board", "to_host"):
        setattr(line, broken, lambda data: b"")
        with pytest.raises(LineLostError):
            client.train(np.ones(4, np.float32), 1)
        setattr(line, broken, bytes)
        done = client.statistics().trained
        client.train(np.ones(4, np.float32), 1)
        assert client.statistics().trained == done + 1


def test_the_message_counts_what_was_damaged(greeted: tuple[Client, MemoryLine]) -> None:
    client, line = greeted
    line.to_board = Faults("flip", 1.0, 0)
    message = r"of \d+ requests [1-9]\d* arrived damaged, and so did 0 of \d+ frames from the board"
    with pytest.raises(LineLostError, match=message):
        client.statistics()
    line.to_board, line.to_host = bytes, Faults("flip", 1.0, 0)
    message = r"so did ([1-9]\d*) of \1 frames from the board.* The first bytes .* like noise"
    with pytest.raises(LineLostError, match=message):
        client.statistics()
    assert line.now < 3 * (PATIENCE + 2)


def noise(seed: int) -> Callable[[], bytes]:
    generator = random.Random(seed)
    return lambda: generator.randbytes(generator.randrange(1, 60))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: b"MicroPython v1.22.0\r\n>>> ", r'"MicroPython v1\.22\.0\\r\\n>>> .*another prog'),
        (
            lambda: b"\x1b[31m[red]hello[/red]\r\n" * 9,
            "\"\\\\x1b\\[31m\\[red\\].*another program's",
        ),
        (lambda: b"\0" * 500, "only zeros"),
        (lambda: b"\xf8\x80\xfe" * 20, "f8 80 fe .*looks like noise: another baud rate"),
        (noise(1), "no answer on babbling for"),
        (noise(2), "no answer on babbling for"),
    ],
    ids=["text", "escapes", "zeros", "baud", "noise", "more noise"],
)
def test_what_babbles_is_described_within_the_patience(
    monkeypatch: pytest.MonkeyPatch, source: Callable[[], bytes], message: str
) -> None:
    class Babbling(MemoryLine):
        name = "babbling"

        def write(self, data: bytes) -> None:
            pass

        def read(self, timeout: float) -> bytes:
            self.now += min(timeout, 0.01)
            return source()

    line = Babbling.__new__(Babbling)
    line.now = 0.0
    keep_time(line, monkeypatch)
    with pytest.raises(BoardError, match=message) as error:
        Client(line, bench.manifest()).hello()
    assert error.value.args[0].isprintable()
    assert line.now < PATIENCE + 1


def test_an_echo_is_no_answer(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    line = MemoryLine(server)
    monkeypatch.setattr(line, "write", lambda data: setattr(line, "waiting", data))
    keep_time(line, monkeypatch)
    with pytest.raises(BoardError, match="does not answer"):
        Client(line, bench.manifest()).hello()


def test_a_damaged_frame_says_how_long_it_was(server: Server) -> None:
    server.replies(bench.hello())
    spoiled = bytearray(bench.frame(11, 1))
    spoiled[4] ^= 0x20
    [reply] = server.replies(bytes(spoiled))
    assert (reply.status, reply.detail) == (Status.BAD_FRAME, 8)
