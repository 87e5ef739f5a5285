"""A project on a board whose UICR names a boot loader in the flash that the project writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.builds import build
from tests.projects import WATCH, require_arm_compiler
from tinyodl import Session
from tinyodl.device.codes import Status
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import BoardError
from tinyodl.targets.boards import load_board

SLOTS = range(0x4_0000)  # of flash.bin: the two slots, 0xC0000 to 0xFFFFF; features and best behind
OPTIONS = {
    "learner": "transfer",
    "classes": 7,
    "cache": 20,
    "cache_memory": "flash",
    "guard": "2:0",
}


def uicr(address: int) -> bytes:
    return b"\xff" * 0x14 + address.to_bytes(4, "little")


def samples() -> tuple[np.ndarray, np.ndarray]:
    with np.load(WATCH / "person8_learn.npz") as data:
        return data["x"][:8], data["y"][:8]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a DK that has learned and saved twice, with features and best parameters in flash."""
    require_arm_compiler()
    folder = tmp_path_factory.mktemp("boot_loader") / "p"
    model = next(WATCH.glob("*.onnx"))
    tinyodl.compile(model, "nrf52840_dk", folder, **OPTIONS, guard_memory="flash")
    build(folder, load_board("nrf52840_dk"))
    for _ in range(2):
        with Session(folder, "virtual") as session:
            session.train(*samples())
    return folder


@pytest.mark.parametrize("address", [0xE0000, 0xC0000, 0xFF000])
def test_save_is_refused_by_name_and_all_of_both_slots_is_left(project: Path, address: int) -> None:
    before = (project / "flash.bin").read_bytes()
    (project / "uicr.bin").write_bytes(uicr(address))
    with Session(project, "virtual") as session:
        assert session.hello.generation == 2, "what was saved can be read"
        with pytest.raises(RefusedError) as error:
            session.save()
        with pytest.raises(BoardError, match=r"boot loader .* lies at .* nothing was erased"):
            session.train(*samples())
    assert (error.value.status, error.value.detail) == (Status.BOOT_LOADER, address)
    assert f"UICR or MBR names lies at {address:#010x}, in the way" in str(error.value)
    after = (project / "flash.bin").read_bytes()
    assert after[: SLOTS.stop] == before[: SLOTS.stop]


@pytest.mark.parametrize("address", [0xBF000, 0xBE000, 0])
def test_what_the_network_keeps_in_flash_is_left_too(project: Path, address: int) -> None:
    """TRAIN keeps a sample, or tests one and keeps the best parameters; RESET empties both."""
    before = (project / "flash.bin").read_bytes()
    assert any(byte != 0xFF for byte in before[SLOTS.stop :])
    (project / "uicr.bin").write_bytes(uicr(address))
    with Session(project, "virtual") as session:
        for act in (lambda: session.train(*samples()), session.reset, session.save):
            with pytest.raises(BoardError, match="boot loader that the chip's UICR or MBR names"):
                act()
    assert (project / "flash.bin").read_bytes() == before


def test_without_a_name_in_uicr_the_same_board_goes_on(project: Path) -> None:
    (project / "uicr.bin").write_bytes(uicr(0xFFFF_FFFF))
    with Session(project, "virtual") as session:
        generation = session.hello.generation
        session.train(*samples())
    with Session(project, "virtual") as session:
        assert session.hello.generation == generation + 1
