"""`Client` against the device's own code, over lines that lose bytes, and against no board."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device import bench
from tests.device.bench import Server
from tests.device.lines import Dropper, MemoryLine
from tests.device.second_client import INFER, SAVE, TRAIN, SecondClient, quantized
from tinyodl.device import Client, RefusedError
from tinyodl.device.client import ANSWER_SECONDS
from tinyodl.device.codes import Buffer, Command, Status
from tinyodl.device.framing import decode, encode, split
from tinyodl.device.link import PATIENCE
from tinyodl.errors import BoardError, DataError, LineLostError
from tinyodl.virtual.host import HostTransport

X = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
SAMPLES = [(X, 1), (X[::-1], 2), (X * 0.5, 0), (-X, 1)]


@pytest.fixture
def client(server: Server) -> Client:
    return Client(MemoryLine(server), bench.manifest())


# What the methods do


def test_training_is_what_the_formula_says(server: Server, client: Client) -> None:
    """Softmax regression with a gradient batch of 2, in NumPy."""
    weight, bias = client.read_parameter(0), client.read_parameter(1)
    gradient = np.zeros_like(weight)
    for count, (x, label) in enumerate(SAMPLES, 1):
        logits = weight @ x + bias
        probability = np.exp(logits - logits.max())
        probability /= probability.sum()
        np.testing.assert_allclose(client.infer(x)[0], probability, rtol=1e-5)
        step = client.train(x[None], label)
        assert step.predicted == probability.argmax()
        assert step.loss == pytest.approx(-np.log(probability[label]), rel=1e-5)
        difference = probability - np.eye(3)[label]
        gradient += np.outer(difference, x)
        bias = bias - bench.RATE * difference
        if count % 2 == 0:
            weight, gradient = weight - bench.RATE * gradient / 2, np.zeros_like(weight)
    np.testing.assert_allclose(client.read_parameter(0), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(client.read_parameter(1), bias, rtol=1e-4, atol=1e-6)
    statistics = client.statistics()
    assert (statistics.trained, statistics.inferred, statistics.steps) == (4, 4, 4)
    assert statistics.bad_frames == statistics.repeats == statistics.refused == 0


def test_a_sample_that_is_worked_on_as_it_arrives_goes_row_by_row(by_rows_library: Path) -> None:
    """The board makes a number of each row; the regression behind that is the usual one."""
    client = Client(MemoryLine(Server(by_rows_library)), bench.manifest(40, by_rows=True))
    weight, bias = client.read_parameter(0), client.read_parameter(1)
    x = np.random.default_rng(0).normal(size=(1, 2, 40, 3)).astype(np.float32)
    made = np.einsum("crw,cw->r", x[0], np.arange(1, 7).reshape(2, 3) / 8)
    logits = weight @ made + bias
    probability = np.exp(logits - logits.max())
    np.testing.assert_allclose(client.infer(x)[0], probability / probability.sum(), rtol=1e-4)


def test_a_step_on_rows_that_arrive_may_take_as_long_as_a_step(
    by_rows_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 cycles of a 1 MHz clock for each of a million multiply-accumulates."""
    manifest = bench.manifest(40, by_rows=True)
    macs = manifest.macs.model_copy(update={"forward": 1_000_000})
    line = MemoryLine(Server(by_rows_library))
    line.keep_time_for_clients(monkeypatch)
    client = Client(line, manifest.model_copy(update={"macs": macs}))
    client.hello()
    line.to_host = lambda data: b""
    with pytest.raises(LineLostError, match="does not answer"):
        client.evaluate(np.zeros((2, 40, 3), np.float32), 1)
    assert line.now == pytest.approx(PATIENCE + ANSWER_SECONDS + 64)


def test_long_samples_and_parameters_go_in_pieces(wide_library: Path) -> None:
    client = Client(MemoryLine(Server(wide_library)), bench.manifest(200))
    x = np.linspace(-1, 1, 200, dtype=np.float32)
    weight = np.random.default_rng(1).normal(size=(3, 200)).astype(np.float32) / 8
    client.write_parameter(0, weight)
    np.testing.assert_array_equal(client.read_parameter(0), weight)
    logits = weight @ x + client.read_parameter(1)
    probability = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(client.infer(x)[0], probability, rtol=1e-4)


def test_parameters_keep_their_dtype(client: Client) -> None:
    client.train(X, 1)
    collected = client.read_parameter(3)
    assert (collected.dtype, collected.shape, collected.item()) == (np.int32, (), 1)
    client.write_parameter(3, np.array(0))
    assert client.flush() == 0


def test_a_target_vector_is_sent_with_the_sample(mse_library: Path) -> None:
    client = Client(MemoryLine(Server(mse_library)), bench.manifest(mse=True))
    target = np.array([1.0, 0.0, -1.0], np.float32)
    output = client.infer(X)[0]
    loss = client.train(X, target).loss
    assert loss == pytest.approx(np.mean((output - target) ** 2), rel=1e-5)
    assert client.evaluate(X, target[None]).loss < loss


def test_an_int8_input_is_sent_quantised_and_learns_what_its_real_values_teach(
    int8_library: Path, client: Client
) -> None:
    int8 = Client(MemoryLine(Server(int8_library)), bench.manifest(int8=True))
    assert int8.hello().input_bytes == 4 and client.hello().input_bytes == 16
    for x, label in SAMPLES:  # all of them are multiples of the scale
        assert int8.train(x, label).loss == client.train(x, label).loss
    np.testing.assert_array_equal(int8.read_parameter(0), client.read_parameter(0))
    highest, lowest = np.float32((127 + 3) / 32), np.float32((-128 + 3) / 32)
    np.testing.assert_array_equal(
        int8.infer(np.array([1e30, -1e30, 1 / 64, 3 / 64])),
        client.infer(np.array([highest, lowest, 0, 2 / 32])),
    )


def test_save_restore_reset_and_reboot(client: Client) -> None:
    compiled = client.read_parameter(1)
    client.train(X, 1)
    learned = client.read_parameter(1)
    assert client.save() == 1
    client.reset()
    np.testing.assert_array_equal(client.read_parameter(1), compiled)
    saved = client.restore()
    assert (saved.generation, saved.steps) == (1, 1)
    np.testing.assert_array_equal(client.read_parameter(1), learned)


def test_the_learning_rate_is_told_and_set(client: Client) -> None:
    assert client.learning_rate() == bench.RATE
    assert client.learning_rate(0.125) == 0.125
    with pytest.raises(DataError, match="learning rate nan"):
        client.learning_rate(float("nan"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.train(X[:3], 1), r"x has shape \(3,\), the model takes \(1, 4\)"),
        (lambda c: c.train(X * np.nan, 1), "not finite"),
        (lambda c: c.infer(np.array(["a"] * 4)), "dtype <U1"),
        (lambda c: c.train(X, 3), "label 3 is not a class from 0 to 2"),
        (lambda c: c.train(X, -1), "label -1"),
        (lambda c: c.train(X, 1.5), "label 1.5"),
        (lambda c: c.read_parameter(4), "parameter 4 does not exist"),
        (lambda c: c.write_parameter(1, np.zeros(4)), r"parameter bias has shape \(4,\)"),
    ],
)
def test_what_does_not_fit_is_not_sent(
    server: Server, client: Client, call: Callable[[Client], object], message: str
) -> None:
    before = server.state()
    with pytest.raises(DataError, match=message):
        call(client)
    assert server.state() == before
    assert client.statistics().trained == 0


def test_a_refusal_says_what_to_do(library: Path) -> None:
    client = Client(MemoryLine(Server(library, bench.Flash(64))), bench.manifest())
    with pytest.raises(RefusedError, match=r"SAVE: .* slots of 144 bytes") as refusal:
        client.save()
    assert (refusal.value.status, refusal.value.detail) == (Status.NO_SPACE, 144)
    with pytest.raises(RefusedError, match="save first"):
        client.restore()
    assert client.statistics().steps == 0  # the session goes on


# A line that loses


def train_all(client: Client) -> None:
    for x, label in SAMPLES:
        client.train(x, label)


@pytest.fixture(scope="module")
def trained(library: Path) -> tuple[bytes, int, int]:
    """The state after training over a good line, and the bytes that went to and fro."""
    there, back = Dropper(), Dropper()
    server = Server(library)
    train_all(Client(MemoryLine(server, there, back), bench.manifest(), sequence=7))
    return server.state(), there.seen, back.seen


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_dropped_bytes_are_recovered_by_the_retry(
    library: Path, trained: tuple[bytes, int, int], data: st.DataObject
) -> None:
    """Up to two in each direction: every sample is trained once, in its order."""
    state, there, back = trained
    lost_there = data.draw(st.lists(st.integers(0, there - 1), max_size=2))
    lost_back = data.draw(st.lists(st.integers(0, back - 1), max_size=2))
    server = Server(library)
    line = MemoryLine(server, Dropper(*lost_there), Dropper(*lost_back))
    with pytest.MonkeyPatch.context() as monkeypatch:
        line.keep_time_for_clients(monkeypatch)
        train_all(Client(line, bench.manifest(), sequence=7))
    assert server.state() == state


def test_every_single_dropped_byte_of_a_step_is_recovered(
    library: Path, trained: tuple[bytes, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, there, back = trained
    server = Server(library)
    for number in range(max(there, back)):
        server.c.server_start()
        line = MemoryLine(server, Dropper(number), Dropper(number))
        line.keep_time_for_clients(monkeypatch)
        train_all(Client(line, bench.manifest(), sequence=7))
        assert server.state() == state


def test_a_lost_end_of_a_frame_costs_one_retry(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry begins with the zero that is missing; its own copy of the request is a repeat."""
    line = MemoryLine(server)
    line.keep_time_for_clients(monkeypatch)
    client = Client(line, bench.manifest())
    client.hello()
    frames = []
    line.to_board = lambda data: frames.append(data) or (data if frames[1:] else data[:-1])
    assert client.save() == 1
    assert len(frames) == 2
    assert (client.statistics().repeats, client.statistics().bad_frames) == (1, 0)


def test_left_overs_of_an_earlier_session_are_dropped(server: Server) -> None:
    line = MemoryLine(server)
    line.waiting = server.exchange(bench.hello(3) + bench.train(4, 0)) + b"half a fr"
    client = Client(line, bench.manifest(), sequence=100)
    assert client.infer(X).shape == (1, 3)


def test_a_board_that_starts_slowly_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent before its serial line is up is lost."""
    line = MemoryLine(server)
    line.to_board = lambda data: data if line.now > 2.5 else b""
    line.keep_time_for_clients(monkeypatch)
    assert Client(line, bench.manifest()).hello().board == "bench"
    assert line.now == pytest.approx(2.75)


# Boards that are not there, or not the right ones


def test_a_silent_board_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    line = MemoryLine(server, to_host=lambda data: b"")
    line.keep_time_for_clients(monkeypatch)
    with pytest.raises(BoardError, match="does not answer on memory; is it powered"):
        Client(line, bench.manifest()).hello()
    assert 5 < line.now < 10


def test_a_board_that_falls_silent_is_reported(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = MemoryLine(server)
    line.keep_time_for_clients(monkeypatch)
    client = Client(line, bench.manifest())
    client.hello()
    line.to_host = lambda data: b""
    with pytest.raises(LineLostError, match="does not answer"):
        client.statistics()
    assert line.now == pytest.approx(PATIENCE + ANSWER_SECONDS)


def test_noise_without_end_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    line = MemoryLine(server, to_host=lambda data: b"\x12noise\0" * 5)
    line.keep_time_for_clients(monkeypatch)
    with pytest.raises(BoardError, match=r"no answer on memory for 15 s, but .* bytes; the first"):
        Client(line, bench.manifest()).hello()
    assert 15 < line.now < 16


def test_other_firmware_is_reported(server: Server) -> None:
    client = Client(MemoryLine(server), bench.manifest(model_id="0011223344556677"))
    with pytest.raises(BoardError, match=r"runs other firmware .*: flash it with `tinyodl flash"):
        client.train(X, 1)


def test_another_protocol_version_is_reported(server: Server) -> None:
    def newer(data: bytes) -> bytes:
        message = bytearray(decode(split(data)[0][0]) or b"")
        message[8] = 3
        return encode(bytes(message[:16]))

    client = Client(MemoryLine(server, to_host=newer), bench.manifest())
    with pytest.raises(BoardError, match="protocol version 3, this tinyodl 2: flash it"):
        client.hello()


def test_a_restart_in_the_middle_is_reported(server: Server, client: Client) -> None:
    client.train(X, 1)
    server.c.server_start()
    with pytest.raises(BoardError, match="has restarted during the session"):
        client.train(X, 1)


def test_a_second_client_on_the_line_is_reported(server: Server) -> None:
    client = Client(MemoryLine(server), bench.manifest(), sequence=0)
    client.hello()
    server.exchange(bench.hello(500))
    with pytest.raises(RefusedError, match="does another program use it"):
        client.statistics()


# The host build


def test_the_host_build_learns_saves_and_restarts(program: Path, tmp_path: Path) -> None:
    line = HostTransport(program, tmp_path / "store")
    client = Client(line, bench.manifest())
    assert client.hello().clock_source.name == "HOST"
    train_all(client)
    learned = [client.read_parameter(index) for index in range(4)]
    client.save()
    client.train(X, 2)
    client.reboot()
    assert client.hello().restored
    for index, values in enumerate(learned):
        np.testing.assert_array_equal(client.read_parameter(index), values)
    client.close()
    with pytest.raises(BoardError, match="has ended with exit code 0"):
        line.read(1.0)

    again = Client(HostTransport(program, tmp_path / "store"), bench.manifest())
    assert (again.hello().generation, again.hello().steps) == (1, 4)
    np.testing.assert_array_equal(again.read_parameter(0), learned[0])
    again.close()


def test_the_host_build_and_the_library_learn_the_same_bits(
    program: Path, trained: tuple[bytes, int, int]
) -> None:
    client = Client(HostTransport(program), bench.manifest())
    train_all(client)
    state = b"".join(client.read_parameter(index).tobytes() for index in range(4))
    assert state == trained[0][:-4]
    with pytest.raises(RefusedError, match="NO_SPACE"):
        client.save()  # no file was given for the store
    client.close()


# Another client


def test_a_client_written_from_the_specification_gets_the_same(
    server: Server, trained: tuple[bytes, int, int], library: Path
) -> None:
    drop = Dropper(40, 133, 260, 350)
    line = MemoryLine(server, to_board=drop)
    second = SecondClient(line.write, lambda: line.read(0))
    assert (second.version, second.board, second.steps) == (2, "bench", 0)
    assert second.model_id.hex() == bench.MODEL_ID
    reference = Client(MemoryLine(Server(library)), bench.manifest())
    second.write(Buffer.INPUT, X.tolist())
    second.ask(INFER)
    np.testing.assert_array_equal(np.float32(second.output()), reference.infer(X)[0])
    np.testing.assert_array_equal(np.float32(second.output_of(X.tolist())), reference.infer(X)[0])
    for x, label in SAMPLES:
        ours = reference.train(x, label)
        theirs = second.step(TRAIN, x.tolist(), label)
        assert theirs[:2] == (ours.predicted, ours.loss)
    assert drop.seen > 350
    assert server.state() == trained[0]
    np.testing.assert_array_equal(np.float32(second.parameter(1, 3)), reference.read_parameter(1))
    assert second.ask(SAVE) == bench.u32(1)


def test_another_client_quantises_by_the_specification_too(int8_library: Path) -> None:
    manifest = bench.manifest(int8=True)
    line = MemoryLine(Server(int8_library))
    second = SecondClient(line.write, lambda: line.read(0))
    reference = Client(MemoryLine(Server(int8_library)), manifest)
    random = np.random.default_rng(0)
    for x in np.concatenate([random.normal(size=(20, 4)) * 3, np.full((1, 4), -1e9)]):
        step = manifest.model.input_quantization["x"]
        second.write_bytes(Buffer.INPUT, quantized(x.tolist(), step.scale, step.zero_point))
        second.ask(INFER)
        np.testing.assert_array_equal(np.float32(second.output()), reference.infer(x)[0])


def test_another_client_sends_rows_by_the_specification_too(by_rows_library: Path) -> None:
    line = MemoryLine(Server(by_rows_library))
    second = SecondClient(line.write, lambda: line.read(0))
    reference = Client(MemoryLine(Server(by_rows_library)), bench.manifest(40, by_rows=True))
    for x in np.random.default_rng(0).normal(size=(3, 2, 40, 3)).astype(np.float32):
        second.write_by_rows(x.tolist())
        second.ask(INFER)
        np.testing.assert_array_equal(np.float32(second.output()), reference.infer(x)[0])
        second.write_by_rows(x.tolist())
        predicted, loss, *_ = struct.unpack("<ifIIII", second.ask(TRAIN, bench.u32(1)))
        step = reference.train(x, 1)
        assert (predicted, loss) == (step.predicted, step.loss)


def test_the_example_in_the_specification_is_a_frame() -> None:
    text = (Path(__file__).parents[2] / "docs/protocol.md").read_text("utf-8")
    lines = dict(
        line.split(maxsplit=1) for line in text.splitlines() if line[:5] in ("messa", "frame")
    )
    message, whole = bytes.fromhex(lines["message"]), bytes.fromhex(lines["frame"])
    assert encode(message) == whole
    assert message[0] == Command.HELLO
