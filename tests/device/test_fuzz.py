"""Whatever arrives, no weight changes but by the steps of a session in their order.

The server runs as a library, so thousands of streams take seconds, and a hang would be seen as one.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device import bench
from tests.device.bench import Server, frame, hello
from tinyodl.device.codes import STEPS, Command, Status
from tinyodl.device.framing import decode, split
from tinyodl.device.protocol import parse_reply
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.targets.firmware import MAX_BODY

SAMPLES = [((1.0, -2.0, 0.5, 3.0), 1), ((0.25, 1.0, -1.0, 0.0), 2), ((-1.0, 0.0, 2.0, 0.5), 0)]
FIRST = 0xFFFD  # so that the numbers wrap within a session
SESSION = bench.session(SAMPLES, FIRST)
IN_PIECES = [
    hello(FIRST),
    *(
        request
        for number, (values, label) in enumerate(SAMPLES, FIRST + 1)
        for request in (
            bench.pieces(number, values[:2], 8),
            bench.piece(number, 8, struct.pack("<2f", *values[2:])),
            bench.train(number, label),
        )
    ),
]
CHANGE_WEIGHTS = {Command.TRAIN, Command.FLUSH, Command.PARAMETER_WRITE, Command.RESTORE}
CHANGE_WEIGHTS |= {Command.RESET, Command.LEARNING_RATE}

fuzz = settings(max_examples=1500, deadline=None)


@pytest.fixture(scope="module")
def board(library: Path) -> Server:
    """One board for all streams: it has to survive every one of them."""
    return Server(library)


@pytest.fixture(scope="module")
def prefixes(library: Path) -> list[bytes]:
    """The state after 0, 1, 2, ... intact frames of the session."""
    server = Server(library)
    states = [server.state()]
    for request in SESSION:
        assert server.replies(request)[0].status is Status.OK
        states.append(server.state())
    assert len(set(states)) == 1 + len(SAMPLES)
    return states


def restart(board: Server) -> None:
    """A board that has just started, with what is left of an older stream in its receiver."""
    board.c.server_start()


def still_alive(board: Server) -> None:
    """The board answers the next HELLO, whatever came before."""
    found, rest = split(board.exchange(b"\0" + hello(4711)))
    message = decode(found[-1])
    assert message is not None
    reply = parse_reply(message)
    assert reply is not None
    assert (reply.command, reply.status, reply.sequence) == (Command.HELLO, Status.OK, 4711)
    assert rest == b""


@fuzz
@given(stream=st.lists(st.binary(max_size=700), max_size=5), greeted=st.booleans())
def test_random_bytes_change_nothing(board: Server, stream: list[bytes], greeted: bool) -> None:
    restart(board)
    before = board.state()
    if greeted:
        board.replies(hello())
    for piece in stream:
        for reply in board.replies(piece):
            assert reply.status is not Status.OK
    assert board.state() == before
    still_alive(board)


def truncate(data: st.DataObject, request: bytes) -> bytes:
    return request[: data.draw(st.integers(0, len(request) - 1))]


def corrupt(data: st.DataObject, request: bytes) -> bytes:
    damaged = bytearray(request)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    return bytes(damaged)


def lose_bytes(data: st.DataObject, request: bytes) -> bytes:
    at = data.draw(st.integers(0, len(request) - 1))
    return request[:at] + request[at + data.draw(st.integers(1, 3)) :]


def insert_bytes(data: st.DataObject, request: bytes) -> bytes:
    at = data.draw(st.integers(0, len(request)))
    return request[:at] + data.draw(st.binary(min_size=1, max_size=600)) + request[at:]


def oversize(data: st.DataObject, request: bytes) -> bytes:
    del request
    return frame(
        data.draw(st.integers(1, 15)),
        data.draw(st.integers(0, 0xFFFF)),
        data.draw(st.binary(min_size=8, max_size=8))
        * (MAX_BODY // 8 + data.draw(st.integers(1, 99))),
    )


def send_twice(data: st.DataObject, request: bytes) -> bytes:
    return request * data.draw(st.integers(2, 4))


DAMAGES = (truncate, corrupt, lose_bytes, insert_bytes, oversize, send_twice)


@pytest.mark.parametrize("session", [SESSION, IN_PIECES], ids=["written", "pieces"])
@fuzz
@given(data=st.data())
def test_damage_to_a_session_leaves_the_weights_of_one_of_its_beginnings(
    board: Server, prefixes: list[bytes], session: list[bytes], data: st.DataObject
) -> None:
    restart(board)
    stream = list(session)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.sampled_from(DAMAGES))(data, stream[at] or b"\0")
    cuts = data.draw(st.integers(1, 97))
    whole = b"".join(stream)
    for at in range(0, len(whole), cuts):
        board.exchange(whole[at : at + cuts])
    assert board.state() in prefixes
    still_alive(board)


@fuzz
@given(
    order=st.lists(st.integers(1, len(SESSION) - 1), max_size=20),
    others=st.lists(st.binary(min_size=1, max_size=8), max_size=3),
)
def test_frames_in_any_order_and_number_train_only_in_theirs(
    board: Server, prefixes: list[bytes], order: list[int], others: list[bytes]
) -> None:
    restart(board)
    board.replies(SESSION[0])
    done = 0  # the last frame of the session that was carried out
    for at in order:
        [reply] = board.replies(SESSION[at])
        assert (reply.status is Status.OK) == (at in (done, done + 1))
        done = max(done, at) if reply.status is Status.OK else done
        assert board.state() == prefixes[done + 1]
    for values in others:  # another request under the number that was used last
        reply = board.ask(Command.PARAMETER_WRITE, FIRST + done, bytes(8) + values)
        assert reply.status is Status.SEQUENCE
    assert board.state() == prefixes[done + 1]


small = st.sampled_from([0, 1, 2, 3, 4, 8, 11, 12, 13, 16, 47, 48, 49, 511, 512, 513])
huge = st.sampled_from([2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1])
fields = st.one_of(small, huge, st.integers(0, 2**32 - 1)).map(bench.u32)
bodies = st.one_of(
    st.binary(max_size=20),
    st.lists(fields, max_size=5).map(b"".join),
    st.tuples(st.lists(fields, max_size=3).map(b"".join), st.binary(max_size=480)).map(b"".join),
)
answered = st.integers(0, 255).filter(lambda command: command != Command.PIECE)
requests = st.tuples(st.one_of(st.integers(1, 15), answered), bodies)


@settings(max_examples=2000, deadline=None)
@given(requests=st.lists(requests, max_size=8), sample=st.booleans())
def test_any_body_is_answered_once_and_an_error_changes_nothing(
    board: Server, requests: list[tuple[int, bytes]], sample: bool
) -> None:
    restart(board)
    board.replies(hello(10))
    sequence = 10
    if sample:
        sequence += 1
        board.replies(bench.write(sequence, SAMPLES[0][0]))
    for command, body in requests:
        before, flash = board.state(), bytes(board.flash.memory)
        reply = board.ask(command, sequence + 1, body)
        assert (reply.command, reply.sequence) == (command & 0x7F, (sequence + 1) & 0xFFFF)
        if reply.status is not Status.OK or command not in CHANGE_WEIGHTS:
            assert board.state() == before
        if reply.status is not Status.OK or command != Command.SAVE:
            assert bytes(board.flash.memory) == flash
        if reply.status is not Status.OK:
            assert len(reply.body) == 4
        waits = command in STEPS and reply.status is Status.INCOMPLETE
        if not waits and (command != Command.HELLO or reply.status is Status.OK):
            sequence += 1


@pytest.mark.parametrize("network", [(), ("-DFAKE_BY_ROWS",)], ids=["whole", "by_rows"])
def test_the_host_build_takes_all_this_under_the_address_sanitizer(
    tmp_path: Path, network: tuple[str, ...]
) -> None:
    """In one stream: noise, damaged sessions, requests with random bodies."""
    project = bench.write_project(tmp_path / "project")
    sanitizer = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if "ziglang" in find_host_compiler():
        sanitizer = ["-g", "-fsanitize=undefined", "-fsanitize-trap=undefined"]
    program = bench.build_program(project, tmp_path / "program", *network, *sanitizer)
    generator = random.Random(20)
    stream = bytearray()
    for _ in range(3000):
        stream += hello(0)
        for sequence in range(1, generator.randrange(1, 6)):
            body = b"".join(
                bench.u32(generator.choice([0, 1, 4, 8, 16, 48, 504, 512, 513, 2**32 - 1]))
                for _ in range(generator.randrange(5))
            ) + generator.randbytes(generator.choice([0, 0, 1, 4, 100, 500]))
            stream += frame(generator.randrange(15), sequence, body[: MAX_BODY + 1])
            data = generator.randbytes(generator.choice([0, 1, 4, 8, 16, 512, 600]))
            stream += bench.piece(sequence + 1, 4 * generator.randrange(12), data)
        stream += generator.randbytes(generator.randrange(40))
        damaged = bytearray(b"".join(generator.choice([SESSION, IN_PIECES])))
        damaged[generator.randrange(len(damaged))] ^= generator.randrange(1, 256)
        stream += damaged
    environment = os.environ | {
        "TINYODL_STORE": str(tmp_path / "store"),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    done = subprocess.run(
        [program], input=stream + b"\0" + hello(99), env=environment,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert bench.parse(split(done.stdout)[0][-1]).sequence == 99
