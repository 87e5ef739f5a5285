"""Counting by the places of nodes: instructions and bytes against firmware/places.c."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.virtual.conftest import Build
from tests.virtual.test_counts import BOARDS
from tinyodl.targets.boards import Board, load_board
from tinyodl.virtual.counts import Count
from tinyodl.virtual.image import load_image
from tinyodl.virtual.node_code import code_of, places_of
from tinyodl.virtual.unicorn_board import UnicornBoard

SHARED = 2 + 1  # two nops and the way back
OUTER = 4 + 1 + 3 + 1  # and the jump to inner, which returns


@pytest.mark.parametrize("name", BOARDS)
def test_instructions_go_to_the_last_place_that_was_reached(build: Build, name: str) -> None:
    board = load_board(name)
    elf = build("places", board)
    with UnicornBoard(board, elf, places=places_of(load_image(elf))) as virtual:
        counts = virtual.counters_by_place()
        whole = virtual.counters()["forward"]
    forward = {place: n for (phase, place), n in counts.items() if phase == "forward"}
    found = {place: forward[place].instructions for place in ("0", "1", "1_0")}
    assert found == {"0": 1 + OUTER + 1 + SHARED, "1": 5 + 6, "1_0": 1 + SHARED}
    assert "empty" not in forward
    assert sum(forward.values(), start=Count()) == whole


def test_cycles_of_a_branch_go_to_where_it_is_taken(build: Build, nrf: Board) -> None:
    elf = build("places", nrf)
    with UnicornBoard(nrf, elf, places=places_of(load_image(elf))) as virtual:
        counts = virtual.counters_by_place()
    assert counts["forward", "1"].cycles == 5 + 6
    assert counts["forward", "1_0"].cycles == (1 + 1) + 2 + (1 + 2)  # bl, two nops, bx


def test_places_change_no_count(build: Build, nrf: Board) -> None:
    elf = build("places", nrf)
    with UnicornBoard(nrf, elf) as plain:
        expected = plain.counters()
    with UnicornBoard(nrf, elf, places=places_of(load_image(elf))) as virtual:
        assert virtual.counters() == expected


def test_a_node_has_its_own_code_and_what_only_it_calls(build: Build, nrf: Board) -> None:
    elf = build("places", nrf)
    sizes = function_sizes(elf)
    code = code_of(load_image(elf))
    call = 4
    assert code.own == {
        "0": 2 * call + sizes["outer"] + sizes["inner"],
        "1": 2 * (5 + 6),
        "1_0": call,
    }
    assert code.shared == {"shared": sizes["shared"]}
    assert sum(code.own.values()) + code.rest == sizes["phase"] + sizes["outer"] + sizes["inner"]


def function_sizes(elf: Path) -> dict[str, int]:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = list(table.iter_symbols())
    return {s.name: s["st_size"] for s in symbols if s["st_info"]["type"] == "STT_FUNC"}
