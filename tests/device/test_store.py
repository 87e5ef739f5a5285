"""The weights of the last SAVE, or of the one before it, whenever power fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device import bench
from tests.device.bench import Flash, Server
from tinyodl.device.codes import Command, Status
from tinyodl.device.protocol import parse_hello, parse_number, parse_restored

SAMPLE = (1.0, -2.0, 0.5, 3.0)
NEVER = 2**62  # power that does not fail
TORN = [0x00000000, 0xFFFFFFFF, 0x0F0F0F0F, 0xA5A5A5A5, 0x00FFFFFF]


@pytest.fixture(scope="session", params=[4, 8, 16])
def unit(request: pytest.FixtureRequest) -> int:
    """Bytes of flash that are programmed at a time: of an nRF52840, an STM32L4, an STM32U5."""
    return int(request.param)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, unit: int) -> Path:
    """The server with the softmax regression of 4 inputs."""
    folder = tmp_path_factory.mktemp("library")
    return bench.build_library(folder, f"-DPORT_FLASH_UNIT={unit}u")


class Session:
    """Requests to a server in sequence."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sequence = 0
        [reply] = server.replies(bench.hello(0))
        self.hello = parse_hello(reply.body)

    def ask(self, command: Command, body: bytes = b"") -> tuple[Status, bytes]:
        self.sequence += 1
        reply = self.server.ask(command, self.sequence, body)
        return reply.status, reply.body

    def train(self, label: int) -> None:
        self.sequence += 1
        self.server.replies(bench.write(self.sequence, SAMPLE))
        assert self.ask(Command.TRAIN, bench.u32(label))[0] is Status.OK

    def save(self) -> Status:
        return self.ask(Command.SAVE)[0]


def boot(
    library: Path, flash: Flash, *, power: int = NEVER, torn: int = 0
) -> tuple[Server, Session]:
    server = Server(library, flash, power=power, torn=torn)
    return server, Session(server)


def test_what_was_saved_is_there_after_a_reset(library: Path) -> None:
    flash = Flash()
    server, session = boot(library, flash)
    assert (session.hello.restored, session.hello.generation) == (False, 0)
    session.train(1)
    saved = server.state()
    assert parse_number(session.ask(Command.SAVE)[1]) == 1
    session.train(2)
    assert server.state() != saved

    server, session = boot(library, flash)
    assert server.state() == saved
    hello = session.hello
    assert (hello.restored, hello.generation, hello.steps) == (True, 1, 1)


def test_restore_goes_back_to_it_and_reset_leaves_it_alone(library: Path) -> None:
    server, session = boot(library, Flash())
    assert session.ask(Command.RESTORE)[0] is Status.EMPTY
    session.train(1)
    session.save()
    saved = server.state()
    session.train(0)
    session.ask(Command.RESET)
    assert server.state() != saved
    status, body = session.ask(Command.RESTORE)
    assert status is Status.OK
    assert (parse_restored(body).generation, parse_restored(body).steps) == (1, 1)
    assert server.state() == saved


def test_the_newest_of_many_states_is_found(library: Path) -> None:
    flash = Flash()
    for generation in range(1, 7):
        server, session = boot(library, flash)
        assert session.hello.generation == generation - 1
        session.train(generation % 3)
        assert session.save() is Status.OK
        saved = server.state()
        assert server.c.test_reprogrammed() == 0
    assert boot(library, flash)[0].state() == saved


def test_generations_wrap(library: Path, unit: int) -> None:
    """A slot with generation 2^32-1 is older than the one after it."""
    flash = Flash()
    server, session = boot(library, flash)
    session.save()
    slot = bytearray(flash.memory)[: flash.slot_bytes]
    slot[unit + 12 : unit + 16] = b"\xff\xff\xff\xff"
    payload = int.from_bytes(slot[unit + 20 : unit + 24], "little")
    crc = server.c.crc32_update(0, bytes(slot[unit : unit + 24]), 24)
    header = {4: 32, 8: 40, 16: 48}[unit]
    stored = bytes(slot[header : header + payload])
    crc = server.c.crc32_update(crc, stored, payload) & 0xFFFFFFFF
    slot[unit + 24 : unit + 28] = bench.u32(crc)
    flash = Flash(content=bytes(slot) + b"\xff" * flash.slot_bytes)

    server, session = boot(library, flash)
    assert session.hello.generation == 2**32 - 1
    session.train(1)
    assert parse_number(session.ask(Command.SAVE)[1]) == 1
    assert boot(library, flash)[0].state() == server.state()


def test_the_state_of_another_model_is_not_taken(library: Path, unit: int, tmp_path: Path) -> None:
    flash = Flash()
    server, session = boot(library, flash)
    compiled = server.state()
    session.train(1)
    session.save()
    other = bench.build_library(tmp_path, "-DFAKE_MODEL=2", f"-DPORT_FLASH_UNIT={unit}u")
    server, session = boot(other, flash)
    assert (session.hello.restored, server.state()) == (False, compiled)
    session.train(2)
    assert session.save() is Status.OK
    assert boot(other, flash)[0].state() == server.state()


def test_any_damaged_byte_is_noticed(library: Path, unit: int) -> None:
    """The slot with a wrong byte is not used; the older one is."""
    flash = Flash()
    server, session = boot(library, flash)
    session.train(1)
    session.save()
    older = server.state()
    session.train(2)
    session.save()
    used = session.hello.slot_needed
    filling = {*range(4, unit), *range(unit + 28, {4: 32, 8: 40, 16: 48}[unit])}
    for at in set(range(used)) - filling:
        damaged = flash.copy()
        damaged.memory[flash.slot_bytes + at] ^= 0x10
        assert boot(library, damaged)[0].state() == older


def test_a_slot_that_is_too_small_is_refused(library: Path) -> None:
    needed = boot(library, Flash())[1].hello.slot_needed
    for slot_bytes in (0, 4, needed - 4):
        flash = Flash(slot_bytes)
        server, session = boot(library, flash)
        assert session.save() is Status.NO_SPACE
        assert session.ask(Command.RESTORE)[0] is Status.EMPTY
        assert server.c.test_operations() == 0
    assert boot(library, Flash(needed))[1].save() is Status.OK


def operations_of_a_save(library: Path, flash: Flash) -> int:
    server, session = boot(library, flash.copy())
    assert session.save() is Status.OK
    count: int = server.c.test_operations()
    return count


@pytest.mark.parametrize("saves", [0, 1, 2])
@pytest.mark.parametrize("torn", TORN)
def test_power_may_fail_at_every_write(library: Path, unit: int, saves: int, torn: int) -> None:
    """At each erase and each unit of a SAVE, after none, one or two good ones."""
    flash = Flash()
    for label in range(saves):
        server, session = boot(library, flash)
        session.train(label)
        assert session.save() is Status.OK
    old = boot(library, flash)[0].state()
    operations = operations_of_a_save(library, flash)
    assert operations > {4: 30, 8: 15, 16: 8}[unit]

    outcomes = set()
    for cut in range(1, operations + 1):
        cut_flash = flash.copy()
        server, session = boot(library, cut_flash, power=cut, torn=torn)
        assert server.state() == old
        session.train(2)
        new = server.state()
        assert session.save() is Status.STORE
        server, session = boot(library, cut_flash)  # power is back
        assert server.state() in (old, new)
        outcomes.add(server.state() == new)
        session.train(1)
        assert session.save() is Status.OK
        assert server.c.test_reprogrammed() == 0
        assert boot(library, cut_flash)[0].state() == server.state()
    assert False in outcomes


@settings(max_examples=150, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2**32 - 1)), max_size=6),
    labels=st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_power_may_fail_again_and_again(
    library: Path, cuts: list[tuple[int, int]], labels: list[int]
) -> None:
    flash = Flash()
    kept = boot(library, flash)[0].state()
    for (cut, torn), label in zip(cuts, labels, strict=False):
        server, session = boot(library, flash, power=cut, torn=torn)
        assert server.state() == kept
        session.train(label)
        new = server.state()
        status = session.save()
        after = boot(library, flash)[0].state()
        assert after in ((new,) if status is Status.OK else (kept, new))
        kept = after


def test_flash_that_takes_no_writes_is_noticed(library: Path) -> None:
    """As on an emulator whose flash is a ROM."""
    server, session = boot(library, Flash(), power=0)
    before = server.state()
    assert session.save() is Status.STORE
    assert server.state() == before
    assert session.ask(Command.STATISTICS)[0] is Status.OK


@pytest.mark.parametrize("saves", [0, 1, 2])
def test_no_slot_is_touched_where_a_boot_loader_lies(library: Path, saves: int) -> None:
    flash = Flash()
    server, session = boot(library, flash)
    for label in range(saves):
        session.train(label)
        assert session.save() is Status.OK
    before, operations = bytes(flash.memory), server.c.test_operations()
    server.c.test_boot_loader(0xE0000)
    session.train(2)
    state = server.state()
    status, detail = session.ask(Command.SAVE)
    assert (status, parse_number(detail)) == (Status.BOOT_LOADER, 0xE0000)
    assert bytes(flash.memory) == before and server.c.test_operations() == operations
    assert server.state() == state
    expected = Status.OK if saves else Status.EMPTY
    assert session.ask(Command.RESTORE)[0] is expected, "reading does no harm"
