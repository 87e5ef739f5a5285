"""The device's rules: each request once, in order, and nothing changes where something is wrong."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.device import bench
from tests.device.bench import Server, frame, hello, parse, pieces, train, write
from tinyodl.device.codes import NO_FLAGS, Command, Flag, Status
from tinyodl.device.framing import split
from tinyodl.device.protocol import (
    hello_body,
    parameter_read_body,
    parameter_write_body,
    parse_hello,
    parse_statistics,
    parse_step,
    read_body,
)
from tinyodl.resources import TEMPLATES
from tinyodl.targets.firmware import MAX_BODY, PROTOCOL, STACK_BYTES

SAMPLE = (1.0, -2.0, 0.5, 3.0)


def greet(server: Server, sequence: int = 0) -> None:
    [reply] = server.replies(hello(sequence))
    assert reply.status is Status.OK


# Each request once, in order


def test_a_step_sent_twice_trains_once(server: Server) -> None:
    greet(server)
    server.replies(write(1, SAMPLE))
    first = server.exchange(train(2, 1))
    learned = server.state()
    assert server.exchange(train(2, 1)) == first
    assert server.state() == learned
    statistics = parse_statistics(server.ask(Command.STATISTICS, 3).body)
    assert (statistics.trained, statistics.repeats) == (1, 1)


def test_the_kept_reply_survives_noise_and_refused_requests(server: Server) -> None:
    greet(server)
    server.replies(write(1, SAMPLE))
    first = server.exchange(train(2, 1))
    learned = server.state()
    assert server.ask(Command.TRAIN, 9, bench.u32(0)).status is Status.SEQUENCE
    [bad] = server.replies(b"\x11noise\x07 that looks like a frame\0")
    assert bad.status is Status.BAD_FRAME
    assert server.exchange(train(2, 1)) == first
    assert server.state() == learned


def test_another_request_with_the_last_number_is_refused(server: Server) -> None:
    greet(server)
    server.replies(write(1, SAMPLE))
    server.replies(train(2, 1))
    learned = server.state()
    reply = server.ask(Command.TRAIN, 2, bench.u32(0))
    assert (reply.status, reply.detail) == (Status.SEQUENCE, 3)
    assert server.state() == learned


@pytest.mark.parametrize("sequence", [0, 2, 3, 0x8000, 0xFFFF])
def test_only_the_next_number_is_carried_out(server: Server, sequence: int) -> None:
    greet(server)
    before = server.state()
    reply = server.ask(Command.PARAMETER_WRITE, sequence, parameter_write_body(1, 0, b"\0" * 4))
    assert (reply.status, reply.detail, reply.sequence) == (Status.SEQUENCE, 1, sequence)
    assert server.state() == before


def test_numbers_wrap(server: Server) -> None:
    greet(server, 0xFFFF)
    assert server.ask(Command.STATISTICS, 0).status is Status.OK


def test_an_error_uses_up_its_number_and_is_repeated_as_it_was(server: Server) -> None:
    greet(server)
    request = write(1, SAMPLE, buffer=255)
    first = server.exchange(request)
    assert parse(first[:-1]).status is Status.RANGE
    server.exchange(b"\0")
    assert server.exchange(request) == first
    assert server.ask(Command.STATISTICS, 2).status is Status.OK


@pytest.mark.parametrize("command", [Command.INFER, Command.EVALUATE, Command.TRAIN])
def test_a_step_without_its_sample_keeps_its_number(server: Server, command: Command) -> None:
    greet(server)
    body = b"" if command is Command.INFER else bench.u32(1)
    for _ in range(2):
        assert server.ask(command, 1, body).status is Status.INCOMPLETE
    server.exchange(pieces(1, SAMPLE, 16))
    assert server.ask(command, 1, body).status is Status.OK
    assert server.ask(Command.STATISTICS, 2).status is Status.OK


def test_nothing_is_carried_out_before_hello(server: Server) -> None:
    before = server.state()
    for command in (Command.STATISTICS, Command.PARAMETER_WRITE, Command.TRAIN):
        assert server.ask(command, 1, parameter_write_body(1, 0, b"\0" * 4)).status is (
            Status.NO_HELLO
        )
    assert server.state() == before


def test_a_hello_in_between_begins_anew_without_a_sample(server: Server) -> None:
    greet(server)
    server.replies(write(1, SAMPLE))
    greet(server, 500)
    assert server.ask(Command.INFER, 501).status is Status.INCOMPLETE


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"TODI\x01\0", Status.RANGE), (b"", Status.LENGTH), (b"TODL", Status.LENGTH)],
)
def test_a_hello_that_is_none_begins_no_session(
    server: Server, body: bytes, status: Status
) -> None:
    greet(server)
    assert server.ask(Command.HELLO, 77, body).status is status
    assert server.ask(Command.STATISTICS, 1).status is Status.OK


def test_a_hello_of_another_version_is_answered_with_ours(server: Server) -> None:
    reply = server.ask(Command.HELLO, 5, b"TODL\x63\0 and more")
    assert parse_hello(reply.body).version == PROTOCOL


# Who is there


def test_hello_says_who_is_there(server: Server) -> None:
    greet(server)
    who = parse_hello(server.replies(hello(1))[0].body)
    assert who.board == "bench"
    assert who.model_id == bench.MODEL_ID
    assert (who.max_body, who.clock_hz, who.clock_source) == (MAX_BODY, 1_000_000, 1)
    assert (who.input_bytes, who.target_bytes, who.output_bytes, who.classes) == (16, 0, 12, 3)
    assert (who.parameters, who.state_bytes, who.batch) == (4, 48 + 12 + 48 + 4, 2)
    assert (who.restored, who.steps, who.generation) == (False, 0, 0)
    assert (who.slot_bytes, who.slot_needed) == (bench.SLOT_BYTES, 32 + who.state_bytes)
    assert (who.stack_reserved, who.stack_used) == (STACK_BYTES, 512)
    assert who.learning_rate == bench.RATE


# Samples and steps


def test_a_step_needs_the_whole_sample_every_time(server: Server) -> None:
    greet(server)
    before = server.state()
    assert server.ask(Command.TRAIN, 1, bench.u32(0)).status is Status.INCOMPLETE
    server.replies(write(1, SAMPLE[:3]))
    reply = server.ask(Command.TRAIN, 2, bench.u32(0))
    assert (reply.status, reply.detail) == (Status.INCOMPLETE, 12)
    assert server.state() == before
    server.replies(write(2, SAMPLE[3:], offset=12))
    assert server.ask(Command.INFER, 3).status is Status.OK
    for command in (Command.INFER, Command.EVALUATE, Command.TRAIN):
        body = b"" if command is Command.INFER else bench.u32(0)
        assert server.ask(command, 4, body).status is Status.INCOMPLETE
    assert server.state() == before


def test_a_sample_arrives_in_order(server: Server) -> None:
    greet(server)
    assert server.replies(write(1, SAMPLE[2:], offset=8))[0].status is Status.INCOMPLETE
    server.replies(write(2, SAMPLE[:2]))
    gap = server.replies(write(3, SAMPLE[3:], offset=12))[0]
    assert (gap.status, gap.detail) == (Status.INCOMPLETE, 8)
    assert server.replies(write(4, SAMPLE[2:], offset=8))[0].status is Status.OK
    assert server.ask(Command.READ, 5, read_body(0, 0, 16)).body == struct.pack("<4f", *SAMPLE)


ROWS = 40  # of a sample that is worked on as it arrives, 6 values each
IMAGE = tuple(np.linspace(-2, 2, 6 * ROWS))
TICK = 0x10000001  # what the test port's counter moves by from one mark to the next


def forward_cycles(server: Server, sequence: int) -> int:
    """Since the start."""
    return parse_statistics(server.ask(Command.STATISTICS, sequence).body).cycles_forward


def test_a_write_that_computes_is_carried_out_once(by_rows_library: Path) -> None:
    server = Server(by_rows_library)
    greet(server)
    first = server.exchange(write(1, IMAGE[:64]))
    assert server.exchange(write(1, IMAGE[:64])) == first
    assert server.replies(write(2, IMAGE[60:64], offset=240))[0].status is Status.INCOMPLETE
    assert forward_cycles(server, 3) == 10 * TICK, "ten whole rows"


def test_work_on_an_arriving_sample_belongs_to_its_step(by_rows_library: Path) -> None:
    """A sample that is given up, by a HELLO or another one, does not."""
    server = Server(by_rows_library)
    greet(server)
    server.replies(write(1, IMAGE[:90]))
    greet(server)
    assert server.replies(write(1, IMAGE[90:180], offset=360))[0].status is Status.INCOMPLETE
    server.replies(write(2, IMAGE[:60]))
    losses = []
    for sequence in (3, 10):
        assert server.replies(write(sequence, IMAGE[:100]))[0].status is Status.OK
        refused = server.ask(Command.EVALUATE, sequence + 1, bench.u32(1))
        assert (refused.status, refused.detail) == (Status.INCOMPLETE, 400)
        server.replies(write(sequence + 1, IMAGE[100:200], offset=400))
        server.replies(write(sequence + 2, IMAGE[200:], offset=800))
        step = parse_step(server.ask(Command.EVALUATE, sequence + 3, bench.u32(1)).body)
        assert step.cycles_forward == (ROWS + 1) * TICK % 2**32
        losses.append(step.loss)
        again = server.ask(Command.EVALUATE, sequence + 4, bench.u32(1))
        assert again.status is Status.INCOMPLETE, "the sample was used up"
        for number in (sequence + 4, sequence + 5, sequence + 6):
            server.ask(Command.LEARNING_RATE, number)
    assert losses[0] == losses[1]
    assert forward_cycles(server, 17) == (15 + 10 + 2 * (ROWS + 1)) * TICK


def test_a_sample_that_is_worked_on_as_it_arrives_cannot_be_read(by_rows_library: Path) -> None:
    server = Server(by_rows_library)
    greet(server)
    server.replies(write(1, IMAGE[:60]))
    reply = server.ask(Command.READ, 2, read_body(0, 0, 24))
    assert (reply.status, reply.detail) == (Status.RANGE, 0)
    assert parse_hello(server.replies(hello())[0].body).input_bytes == 4 * len(IMAGE)


@pytest.mark.parametrize(
    "bad",
    [
        write(1, (*SAMPLE, 0.0)),
        write(1, SAMPLE, offset=4),
        write(1, SAMPLE, offset=0xFFFFFFF8),
        write(1, SAMPLE, buffer=1),  # no target: the loss takes a label
        write(1, SAMPLE, buffer=2),
        write(1, SAMPLE, buffer=255),
    ],
)
def test_nothing_is_written_outside_of_the_sample(server: Server, bad: bytes) -> None:
    greet(server)
    before = server.state()
    assert server.replies(bad)[0].status is Status.RANGE
    assert server.state() == before


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("command", [Command.TRAIN, Command.EVALUATE])
def test_a_label_that_is_no_class_trains_nothing(
    server: Server, command: Command, label: int
) -> None:
    greet(server)
    server.replies(write(1, SAMPLE))
    before = server.state()
    body = label.to_bytes(4, "little", signed=True)
    reply = server.ask(command, 2, body)
    assert (reply.status, reply.detail) == (Status.RANGE, bench.CLASSES)
    assert server.state() == before
    assert (
        server.ask(Command.TRAIN, 3, bench.u32(2)).status is Status.OK
    )  # the sample is still there


def test_the_output_is_there_from_the_step_to_the_next_write(server: Server) -> None:
    greet(server)
    output = read_body(2, 0, 12)
    assert server.ask(Command.READ, 1, output).status is Status.INCOMPLETE
    server.replies(write(2, SAMPLE))
    server.ask(Command.INFER, 3)
    values = np.frombuffer(server.ask(Command.READ, 4, output).body, "<f4")
    assert values.shape == (3,)
    assert values.sum() == pytest.approx(1)
    server.replies(write(5, SAMPLE[:1]))
    assert server.ask(Command.READ, 6, output).status is Status.INCOMPLETE


def test_reading_nothing_is_fine_even_where_there_is_no_buffer(server: Server) -> None:
    greet(server)
    reply = server.ask(Command.READ, 1, read_body(1, 0, 0))
    assert (reply.status, reply.body) == (Status.OK, b"")


def test_evaluate_tells_what_train_would_and_learns_nothing(server: Server) -> None:
    greet(server)
    before = server.state()
    server.replies(write(1, SAMPLE))
    evaluated = parse_step(server.ask(Command.EVALUATE, 2, bench.u32(1)).body)
    assert server.state() == before
    server.replies(write(3, SAMPLE))
    trained = parse_step(server.ask(Command.TRAIN, 4, bench.u32(1)).body)
    assert (evaluated.predicted, evaluated.loss) == (trained.predicted, trained.loss)
    assert server.state() != before


def test_every_step_answers_with_its_flags(server: Server) -> None:
    """The fake network sets one where it trains at a loss above 1."""
    greet(server)
    flags = []
    for sequence, command in ((1, Command.TRAIN), (3, Command.EVALUATE)):
        server.replies(write(sequence, SAMPLE))
        step = parse_step(server.ask(command, sequence + 1, bench.u32(0)).body)
        assert step.loss > 1
        flags.append(step.flags)
    assert flags == [Flag.BOUNDED, NO_FLAGS]


def test_the_board_and_the_host_name_the_same_flags() -> None:
    header = (TEMPLATES / "kernels/flags.h").read_text("utf-8")
    named = {name: int(value) for name, value in re.findall(r"FLAG_(\w+) = (\d+)", header)}
    assert named == {flag.name: flag.value for flag in Flag}


def test_cycles_are_counted_by_phase_across_the_counters_wrap(server: Server) -> None:
    """The test port's counter moves by 0x10000001 at each look and wraps every 16 looks."""
    greet(server)
    sequence, tick = 1, 0x10000001
    for _step in range(4):
        server.replies(write(sequence, SAMPLE))
        step = parse_step(server.ask(Command.TRAIN, sequence + 1, bench.u32(1)).body)
        assert step.cycles_forward == step.cycles_backward == tick
        sequence += 2
    total = parse_statistics(server.ask(Command.STATISTICS, sequence).body)
    assert total.cycles_forward == total.cycles_backward == 4 * tick  # more than 32 bits
    assert total.cycles_update == 2 * tick  # the gradient batch is 2
    assert (total.steps, total.trained, total.evaluated, total.inferred) == (4, 4, 0, 0)


def test_flush_applies_a_batch_that_is_not_full(server: Server) -> None:
    greet(server)
    weight = server.parameter("weight")
    server.replies(write(1, SAMPLE))
    server.ask(Command.TRAIN, 2, bench.u32(1))
    assert (server.parameter("weight") == weight).all()
    assert server.ask(Command.FLUSH, 3).body[:4] == bench.u32(1)
    assert (server.parameter("weight") != weight).any()
    assert server.ask(Command.FLUSH, 4).body[:4] == bench.u32(0)


def test_a_target_vector_is_needed_where_the_loss_compares_with_one(mse_library: Path) -> None:
    server = Server(mse_library)
    greet(server)
    server.replies(write(1, SAMPLE))
    before = server.state()
    reply = server.ask(Command.TRAIN, 2, bench.u32(0))
    assert (reply.status, reply.detail) == (Status.INCOMPLETE, 0)
    assert server.state() == before
    server.replies(write(2, (0.5, 0.25, 0.0), buffer=1))
    label_is_ignored = (-5).to_bytes(4, "little", signed=True)
    assert server.ask(Command.TRAIN, 3, label_is_ignored).status is Status.OK
    assert server.state() != before


# Parameters


def test_parameters_are_read_and_written_by_part(server: Server) -> None:
    greet(server)
    before = server.parameter("weight").tobytes()
    assert server.ask(Command.PARAMETER_READ, 1, parameter_read_body(0, 4, 40)).body == before[4:44]
    reply = server.ask(Command.PARAMETER_WRITE, 2, parameter_write_body(0, 8, b"abcd"))
    assert reply.status is Status.OK
    assert server.parameter("weight").tobytes() == before[:8] + b"abcd" + before[12:]


@pytest.mark.parametrize(
    ("index", "offset", "count"),
    [(4, 0, 4), (0xFFFF, 0, 4), (0, 48, 4), (0, 0xFFFFFFFC, 8), (0, 46, 4), (1, 0, 16)],
)
def test_nothing_is_read_or_written_outside_of_a_parameter(
    server: Server, index: int, offset: int, count: int
) -> None:
    greet(server)
    before = server.state()
    body = parameter_read_body(index, offset, count)
    assert server.ask(Command.PARAMETER_READ, 1, body).status is Status.RANGE
    body = parameter_write_body(index, offset, b"\x55" * count)
    assert server.ask(Command.PARAMETER_WRITE, 2, body).status is Status.RANGE
    assert server.state() == before


def test_a_reply_is_never_longer_than_a_body(wide_library: Path) -> None:
    server = Server(wide_library)
    greet(server)
    body = parameter_read_body(0, 0, MAX_BODY)
    assert len(server.ask(Command.PARAMETER_READ, 1, body).body) == MAX_BODY
    for sequence, count in ((2, MAX_BODY + 1), (3, 2**32 - 1)):
        body = parameter_read_body(0, 0, count)
        assert server.ask(Command.PARAMETER_READ, sequence, body).status is Status.RANGE


@pytest.mark.parametrize("rate", [np.inf, -np.inf, np.nan, -1.0, -1e-30])
def test_a_learning_rate_that_is_none_is_refused(server: Server, rate: float) -> None:
    greet(server)
    assert server.ask(Command.LEARNING_RATE, 1, struct.pack("<f", rate)).status is Status.RANGE
    assert server.c.net_learning_rate() == bench.RATE


def test_the_learning_rate_is_set_and_told(server: Server) -> None:
    greet(server)
    assert server.ask(Command.LEARNING_RATE, 1).body == struct.pack("<f", bench.RATE)
    assert server.ask(Command.LEARNING_RATE, 2, struct.pack("<f", 0.0)).body == b"\0\0\0\0"
    for sequence, length in ((3, 1), (4, 3), (5, 5)):
        assert server.ask(Command.LEARNING_RATE, sequence, b"\0" * length).status is Status.LENGTH


def test_reset_goes_back_to_the_compiled_weights(server: Server) -> None:
    compiled = server.state()
    greet(server)
    server.replies(write(1, SAMPLE))
    server.replies(train(2, 0))
    assert server.state() != compiled
    reply = server.ask(Command.RESET, 3, b"\x02")
    assert (reply.status, reply.detail) == (Status.RANGE, 1)
    assert server.ask(Command.RESET, 4).status is Status.OK
    assert server.state() == compiled
    assert parse_hello(server.ask(Command.HELLO, 4, hello_body()).body).steps == 0


# What is no request


@pytest.mark.parametrize("command", [0, 17, 127, 128, 129, 255])
def test_an_unknown_command_is_answered(server: Server, command: int) -> None:
    greet(server)
    frames, _ = split(server.exchange(frame(command, 1)))
    assert [parse(f).status for f in frames] == [Status.UNKNOWN]


def test_the_reserved_byte_is_zero(server: Server) -> None:
    greet(server)
    [reply] = server.replies(bench.encode(bytes((Command.RESET, 1, 1, 0))))
    assert reply.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("command", "length"),
    [
        (Command.WRITE, 8),
        (Command.READ, 11),
        (Command.READ, 13),
        (Command.INFER, 1),
        (Command.EVALUATE, 3),
        (Command.TRAIN, 5),
        (Command.FLUSH, 4),
        (Command.PARAMETER_READ, 8),
        (Command.PARAMETER_WRITE, 8),
        (Command.STATISTICS, 1),
        (Command.SAVE, 1),
        (Command.RESTORE, 2),
        (Command.RESET, 2),
        (Command.REBOOT, 1),
        (Command.STEPS, 3),
    ],
)
def test_a_body_of_the_wrong_length_is_answered(
    server: Server, command: Command, length: int
) -> None:
    greet(server)
    before = server.state()
    assert server.ask(command, 1, b"\0" * length).status is Status.LENGTH
    assert server.state() == before
    assert server.c.test_reboots() == 0


def test_a_frame_that_is_too_long_is_answered_once(server: Server) -> None:
    greet(server)
    [reply] = server.replies(frame(Command.WRITE, 1, b"\0" * (MAX_BODY + 1)))
    assert (reply.status, reply.command, reply.sequence) == (Status.BAD_FRAME, 0, 0xFFFF)
    [reply] = server.replies(b"\x05" * 100_000 + b"\0")
    assert reply.status is Status.BAD_FRAME
    assert server.ask(Command.STATISTICS, 1).status is Status.OK


def test_the_longest_frame_is_taken(wide_library: Path) -> None:
    server = Server(wide_library)
    greet(server)
    assert server.replies(write(1, [1.5] * ((MAX_BODY - 8) // 4)))[0].status is Status.OK


@pytest.mark.parametrize("noise", [b"\0", b"\0\0\0\0", b"\x01\0", b"U\0", b"\xff\0", b"1234567\0"])
def test_short_noise_gets_silence(server: Server, noise: bytes) -> None:
    greet(server)
    assert server.exchange(noise) == b""
    assert server.ask(Command.STATISTICS, 1).status is Status.OK


def test_reboot_is_answered_first(server: Server) -> None:
    greet(server)
    assert server.ask(Command.REBOOT, 1).status is Status.OK
    assert server.c.test_reboots() == 1
