"""What virtual boards count: instructions exactly, cycles by the model."""

from __future__ import annotations

import pytest

from tests.virtual.conftest import Build
from tinyodl.boards import load_board
from tinyodl.virtual.counts import Count
from tinyodl.virtual.unicorn_board import UnicornBoard

BOARDS = ("nrf52840_dk", "nano33ble", "netduinoplus2", "nucleo_f446re")

# A phase begins with the instruction that sets the pins and ends before the one that sets them
# again. The loops are those of firmware/loops.c.
FORWARD = 1 + 1 + 1000 * 3
BACKWARD = 1 + 4 + 2 + 5 + 1
UPDATE = 1 + 1 + 9 + 1


@pytest.mark.parametrize("name", BOARDS)
def test_instructions_equal_a_count_by_hand(build: Build, name: str) -> None:
    board = load_board(name)
    with UnicornBoard(board, build("loops", board)) as virtual:
        counts = virtual.counters()
    assert {phase: counts[phase].instructions for phase in ("forward", "backward", "update")} == {
        "forward": FORWARD,
        "backward": BACKWARD,
        "update": UPDATE,
    }
