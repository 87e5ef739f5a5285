"""A sample in pieces: what the board makes of them, whatever is lost, doubled or out of order."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device import bench
from tests.device.bench import Server, hello, piece, pieces, train, write
from tinyodl.device.codes import Command, Status
from tinyodl.device.damage import Damage
from tinyodl.device.pieces import Outgoing
from tinyodl.device.protocol import Progress, parse_progress, read_body
from tinyodl.targets.firmware import MAX_BODY, RECEIVE_RING

SAMPLE = (1.0, -2.0, 0.5, 3.0)
DATA = struct.pack("<4f", *SAMPLE)
INPUTS = 200
WIDE = np.linspace(-1, 1, INPUTS, dtype=np.float32)
TARGET = (0.5, 0.25, 0.0)


def greet(server: Server, sequence: int = 0) -> None:
    [reply] = server.replies(hello(sequence))
    assert reply.status is Status.OK


@pytest.fixture(scope="module")
def wide(wide_library: Path) -> Server:
    """One board for all streams of a test."""
    return Server(wide_library)


def learned(server: Server, *stream: bytes) -> bytes:
    """The state after a session that begins anew on a board that has just started."""
    server.c.server_start()
    greet(server)
    for part in stream:
        server.exchange(part)
    return server.state()


# The board


def test_a_piece_has_no_answer(server: Server) -> None:
    greet(server)
    assert server.exchange(pieces(1, SAMPLE, 4)) == b""
    assert server.ask(Command.TRAIN, 1, bench.u32(1)).status is Status.OK


def test_a_damaged_piece_has_none_either(server: Server) -> None:
    greet(server)
    damaged = bytearray(piece(1, 0, DATA))
    damaged[-3] ^= 0x10
    assert server.exchange(bytes(damaged)) == b""
    assert server.ask(Command.TRAIN, 1, bench.u32(1)).status is Status.INCOMPLETE


def test_a_sample_in_pieces_is_the_one_that_is_written(server: Server) -> None:
    in_pieces = learned(server, pieces(1, SAMPLE, 8), train(1, 1), pieces(2, SAMPLE, 16),
                        train(2, 0))  # fmt: skip
    written = learned(server, write(1, SAMPLE), train(2, 1), write(3, SAMPLE), train(4, 0))
    assert in_pieces == written


@pytest.mark.parametrize("number", [0, 2, 3, 0x80])
def test_pieces_for_another_request_are_dropped(server: Server, number: int) -> None:
    greet(server)
    server.exchange(pieces(number, SAMPLE, 16))
    reply = server.ask(Command.TRAIN, 1, bench.u32(1))
    assert (reply.status, reply.detail) == (Status.INCOMPLETE, 0)


def test_nothing_is_taken_before_hello(server: Server) -> None:
    server.exchange(pieces(1, SAMPLE, 16))
    greet(server)
    assert server.ask(Command.TRAIN, 1, bench.u32(1)).status is Status.INCOMPLETE


@pytest.mark.parametrize("command", [Command.STATISTICS, Command.LEARNING_RATE, Command.FLUSH])
def test_any_other_request_drops_them(server: Server, command: Command) -> None:
    """Else pieces of two samples could meet."""
    greet(server)
    server.exchange(piece(1, 0, DATA[:8]))
    server.ask(command, 1)
    server.exchange(piece(2, 8, DATA[8:]))
    reply = server.ask(Command.TRAIN, 2, bench.u32(1))
    assert (reply.status, reply.detail) == (Status.INCOMPLETE, 0)


def test_a_refused_label_drops_them(server: Server) -> None:
    greet(server)
    server.exchange(pieces(1, SAMPLE, 16))
    assert server.ask(Command.TRAIN, 1, bench.u32(99)).status is Status.RANGE
    assert server.ask(Command.TRAIN, 2, bench.u32(1)).status is Status.INCOMPLETE


def test_a_step_leaves_nothing_for_the_next(server: Server) -> None:
    greet(server)
    server.exchange(pieces(1, SAMPLE, 8))
    server.ask(Command.TRAIN, 1, bench.u32(1))
    server.exchange(piece(2, 8, DATA[8:]))
    assert server.ask(Command.TRAIN, 2, bench.u32(1)).status is Status.INCOMPLETE


def test_pieces_end_what_was_asked_or_put_out(server: Server) -> None:
    greet(server)
    server.exchange(pieces(1, SAMPLE, 16))
    assert server.ask(Command.INFER, 1).status is Status.OK
    server.exchange(piece(2, 0, DATA[:8]))
    assert server.ask(Command.READ, 2, read_body(2, 0, 12)).status is Status.INCOMPLETE


def test_the_output_comes_with_infer_as_far_as_it_is_wanted(server: Server) -> None:
    greet(server)
    server.exchange(pieces(1, SAMPLE, 16))
    whole = server.ask(Command.INFER, 1, b"\x0c\0").body
    assert whole[8:] == server.ask(Command.READ, 2, read_body(2, 0, 12)).body
    server.exchange(pieces(3, SAMPLE, 16))
    assert server.ask(Command.INFER, 3, b"\x04\0").body[8:] == whole[8:12]
    server.exchange(pieces(4, SAMPLE, 16))
    refused = server.ask(Command.INFER, 4, b"\x0d\0")
    assert (refused.status, refused.detail) == (Status.RANGE, 12)
    assert server.ask(Command.INFER, 5, b"\0").status is Status.LENGTH


def test_a_target_follows_its_input(mse_library: Path) -> None:
    server = Server(mse_library)
    label = bench.u32(0)
    written = learned(
        server, write(1, SAMPLE), write(2, TARGET, buffer=1), bench.frame(Command.TRAIN, 3, label)
    )
    for length in (4, 8, 12, 20, 28):
        stream = pieces(1, (*SAMPLE, *TARGET), length)
        assert learned(server, stream, bench.frame(Command.TRAIN, 1, label)) == written
    greet(server, 10)
    server.exchange(pieces(11, SAMPLE, 16))
    reply = server.ask(Command.TRAIN, 11, label)
    assert (reply.status, reply.detail) == (Status.INCOMPLETE, 16)
    assert server.ask(Command.INFER, 11).status is Status.OK


def test_what_is_missing_is_told(wide: Server) -> None:
    wide.c.server_start()
    greet(wide)
    data = WIDE.tobytes()
    for at in (0, 200, 300, 700):  # pieces of 100, the second and three more are lost
        wide.exchange(piece(1, at, data[at : at + 100]))
    reply = wide.ask(Command.TRAIN, 1, bench.u32(1))
    assert reply.status is Status.INCOMPLETE
    assert parse_progress(reply.body) == Progress(100, 0b100011, 100)
    for at in (100, 400, 500, 600):
        wide.exchange(piece(1, at, data[at : at + 100]))
    assert wide.ask(Command.TRAIN, 1, bench.u32(1)).status is Status.OK


cuts = st.lists(
    st.tuples(st.integers(0, INPUTS), st.sampled_from([4, 16, 60, 100, 160, MAX_BODY])),
    max_size=40,
)


@settings(max_examples=500, deadline=None)
@given(cuts=cuts)
def test_any_pieces_in_any_order_train_the_sample_or_nothing(
    wide: Server, cuts: list[tuple[int, int]]
) -> None:
    """Pieces anywhere, of mixed lengths; at last the rest of them in order."""
    data = WIDE.tobytes()
    wanted = learned(wide, pieces(1, WIDE, MAX_BODY), train(1, 1))
    before = learned(wide)
    arrived = set()
    for place, length in cuts:
        part = data[4 * place :][:length]
        wide.exchange(piece(1, 4 * place, part))
        arrived |= set(range(4 * place, 4 * place + len(part)))
    reply = wide.ask(Command.TRAIN, 1, bench.u32(1))
    if reply.status is Status.OK:
        assert arrived == set(range(len(data)))
    else:
        assert wide.state() == before
        told = parse_progress(reply.body)
        assert set(range(told.bytes)) <= arrived
        for bit in range(32):
            if told.beyond >> bit & 1:
                start = told.bytes + (bit + 1) * told.length
                assert set(range(start, min(start + told.length, len(data)))) <= arrived
        for at in range(told.bytes, len(data), 100):
            wide.exchange(piece(1, at, data[at : at + 100]))
        assert wide.ask(Command.TRAIN, 1, bench.u32(1)).status is Status.OK
    assert wide.state() == wanted


def test_a_network_that_works_on_rows_takes_them_in_order_and_once(by_rows_library: Path) -> None:
    rows = np.linspace(-2, 2, 240, dtype=np.float32)
    data = rows.tobytes()
    server = Server(by_rows_library)
    wanted = learned(server, write(1, rows[:120]), write(2, rows[120:], offset=480), train(3, 1))
    parts = [piece(1, at, data[at : at + 96]) for at in range(0, 960, 96)]
    doubled = b"".join(part + part for part in parts)
    assert learned(server, doubled, train(1, 1)) == wanted
    greet(server, 5)
    server.exchange(b"".join([piece(6, at, data[at : at + 96]) for at in (0, 192, 288)]))
    reply = server.ask(Command.EVALUATE, 6, bench.u32(1))
    assert parse_progress(reply.body) == Progress(96)


# The host


def test_a_good_line_gets_a_sample_in_as_few_pieces_as_can_be() -> None:
    sample = Outgoing(bytes(range(256)) * 2, 7, Damage(), in_order=False)
    assert sample.send() == bench.piece(7, 0, bytes(range(256)) * 2)
    assert sample.send() == b"", "it is on its way"


def test_only_what_is_missing_is_sent_again() -> None:
    data = bytes(range(1, 251)) * 8
    sample = Outgoing(data, 7, Damage(), in_order=False)
    sample.send()
    assert sample.told(Progress(500, 0b1, 500))
    assert sample.send() == piece(7, 500, data[500:1000]) + piece(7, 1500, data[1500:])
    assert not sample.told(Progress(500, 0b1, 500))


def test_no_more_is_on_its_way_than_the_board_remembers_or_holds() -> None:
    long = bytes(60_000)
    assert len(Outgoing(long, 7, Damage(), in_order=False).send().split(b"\0")) - 1 == 33
    assert len(Outgoing(long, 7, Damage(), in_order=True).send()) < RECEIVE_RING


def test_what_a_board_takes_while_it_computes_is_bounded() -> None:
    sample = Outgoing(bytes(2400), 7, Damage(), in_order=False)
    ahead = sample.send(900)
    assert 0 < len(ahead) <= 900
    assert len(ahead) + len(sample.send()) == len(Outgoing(bytes(2400), 7, Damage(), False).send())
