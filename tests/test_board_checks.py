"""A board file that could erase a boot loader, or that no firmware fits, is refused on load."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyodl
from tests.models import SHIPPED
from tinyodl.cli.main import tinyodl as commands
from tinyodl.errors import ToolError, UserError
from tinyodl.pio.uploaders import standin_upload
from tinyodl.resources import BOARDS, TEMPLATES
from tinyodl.targets import boards, chips
from tinyodl.targets.board_checks import mistakes
from tinyodl.targets.boards import Board, BootLoader, Store, load_board, read_board
from tinyodl.targets.chips import FAMILIES, Chip, Region, all_chips, load_family
from tinyodl.virtual.models import model_of

FEATHER = Path(__file__).with_name("boards") / "feather_nrf52840.toml"
PAGE = 4096


def feather(folder: Path, *changes: tuple[str, str]) -> Path:
    text = FEATHER.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def nucleo(folder: Path, *changes: tuple[str, str]) -> Path:
    text = (BOARDS / "nucleo_f446re.toml").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_board_behind_a_softdevice_is_accepted(tmp_path: Path) -> None:
    board = read_board(feather(tmp_path))
    assert (board.flash.origin, board.settings["led"]) == (0x26000, 47)
    swapped = feather(tmp_path, ("[0x000A_0000, 0x000C_0000]", "[0x000C_0000, 0x000A_0000]"))
    assert read_board(swapped).store, "in whatever order its slots are"


SLOTS, PROGRAM, RAM = "[0x000A_0000, 0x000C_0000]", "size = 0x0007_A000", "size = 0x0004_0000"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Slots
        (SLOTS, "[0x000A_0000, 0x000A_0000]", "slot 1 .* slot 2 .* overlap"),
        (SLOTS, "[0x000A_0000, 0x000B_F000]", "slot 1 .* slot 2 .* overlap"),
        (SLOTS, "[0x0009_F000, 0x000C_0000]", "the program .* slot 1 .* overlap"),
        (SLOTS, "[0x0000_1000, 0x000C_0000]", "slot 1 .* in front of .* overlap"),
        (SLOTS, "[0x000A_0000, 0x0000_0000]", "slot 2 .* in front of .* overlap"),
        (SLOTS, "[0x0000_6000, 0x000C_0000]", "slot 1 .* in front of .* overlap"),
        (SLOTS, "[0x000A_0000, 0x000D_5000]", "slot 2 .* boot loader 'UF2' .* overlap"),
        (SLOTS, "[0x000A_0000, 0x000E_0000]", "slot 2 .* boot loader 'UF2' .* overlap"),
        (SLOTS, "[0x000A_0000, 0x000E_1000]", "slot 2 .* stay inside"),
        (SLOTS, "[0x000A_0000, 0xFFFF_F000]", "slot 2 .* stay inside"),
        (SLOTS, "[-0x1000, 0x000C_0000]".replace("-0x1000", "-4096"), "slot 1 .* stay inside"),
        (SLOTS, "[0x000A_0004, 0x000C_0000]", "slot 1 .* whole units"),
        (SLOTS, "[0x000A_0000, 0x000C_0001]", "slot 2 .* whole units"),
        (SLOTS, "[0x000A_0000]", r"store\.slots"),
        ("slot_bytes = 0x0002_0000", "slot_bytes = 0", "slot 1 .* 0 bytes .* stay inside"),
        ("slot_bytes = 0x0002_0000", "slot_bytes = -4096", "slot 1 .* -4096 bytes"),
        ("slot_bytes = 0x0002_0000", "slot_bytes = 0x0002_0001", "slot 1 .* whole units"),
        ("slot_bytes = 0x0002_0000", "slot_bytes = 0x0002_1000", "overlap"),
        ("slot_bytes = 0x0002_0000", "slot_bytes = 0x1_0000_0000", "stay inside"),
        ("erase_bytes = 0x1000", "erase_bytes = 0x2000", "erase_bytes = 0x2000, but .* 0x1000"),
        ("erase_bytes = 0x1000", "erase_bytes = 0", "erase_bytes = 0x0, but .* 0x1000"),
        # Program
        (PROGRAM, "size = 0x0007_B000", "the program .* slot 1 .* overlap"),
        (PROGRAM, "size = 0x0007_A001", "whole units"),
        (PROGRAM, "size = 0x0007_9FFF", "whole units"),
        (PROGRAM, "size = 0", "the program .* 0 bytes .* stay inside"),
        (PROGRAM, "size = 0xFFFF_F000", "the program .* stay inside"),
        (PROGRAM, "size = -4096", "the program .* stay inside"),
        ("origin = 0x0002_6000", "origin = 0x0002_6010", "multiple of 0x200"),
        ("origin = 0x0002_6000", "origin = 0x0002_6200", "whole units"),
        ("origin = 0x0002_6000", "origin = 0x0010_0000", "stay inside"),
        # Boot loaders
        ("origin = 0x000F_4000", "origin = 0x000D_F000", "slot 2 .* 'UF2' .* overlap"),
        ("origin = 0x000F_4000", "origin = 0x0002_6000", "the program .* 'UF2' .* overlap"),
        ("size = 0x0000_C000", "size = 0x0000_C001", "boot loader 'UF2' .* stay inside"),
        ("size = 0x0000_C000", "size = 0", "boot loader 'UF2' .* stay inside"),
        # RAM
        (RAM, "size = 0x0004_0008", r"\[ram\] .* 0x20000000 to 0x2003ffff; stay inside"),
        (RAM, "size = 0x0003_FFFC", "multiples of 8"),
        (RAM, "size = 0", "stay inside"),
        ("origin = 0x2000_0000", "origin = 0x1FFF_FFF8", "stay inside"),
        ("origin = 0x2000_0000", "origin = 0", "stay inside"),
        # Pins and other settings
        ("led = 47", "led = 48", r"led = 48 is no pin of nrf52840, which has 0 to 47"),
        ("led = 47", "led = -1", "led = -1 is no pin"),
        ("led = 47", "led = 33", "led = 33 is the pin of uart_tx already"),
        ("mark_1 = 3", "mark_1 = 34", "mark_1 = 34 is the pin of mark_0 already"),
        ("uart_rx = 40", "", "lacks uart_rx"),
        ("dcdc = 1", "dcdc = 2", "dcdc = 2 is not in 0 to 1"),
        ("dcdc = 1", "dcdc = 1\nlde = 3", "'lde' is unknown; nrf52840 has uart_tx"),
        ("dcdc = 1", 'dcdc = 1\n"x 1\\n#error" = 3', "is unknown"),
        # Who it is
        (
            'chip = "nrf52840"',
            'chip = "nrf5340"',
            "chip = 'nrf5340' is unknown; .* nrf52840, stm32",
        ),
        ('family = "nrf52840"', 'family = "stm32f4"', 'needs family = "nrf52840"'),
        ('family = "nrf52840"', 'family = "../etc"', "family = '../etc' is not a chip family"),
        ('family = "nrf52840"', 'port = "stm32f4"', 'needs family = "nrf52840"'),
        ('chip = "nrf52840"', 'chip = "nrf52840"\ncpu = "cortex-m33"', "has a cortex-m4; leave"),
        ('virtual = ["virtual"]', 'virtual = ["qemu"]', "'qemu', which has no .* stm32f405rg"),
        ('virtual = ["virtual"]', 'virtual = ["renode"]', "'renode'; there are virtual and qemu"),
        ("clock_hz = 64_000_000", "clock_hz = 0", "clock_hz: Input should be greater than 0"),
        ("baud = 1_000_000", "baud = 0", r"serial\.baud: Input should be greater than 0"),
        ('chip = "nrf52840"', 'chip = "nrf52840"\nname = "other"', "name is not for the file"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = feather(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"mine\.toml: .*{message}"):
        read_board(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0x0804_0000, 0x0806_0000]", "[0x0804_0000, 0x0805_0000]", "whole units"),
        ("[0x0804_0000, 0x0806_0000]", "[0x0804_0000, 0x0808_0000]", "stay inside"),
        ("[0x0804_0000, 0x0806_0000]", "[0x0800_0000, 0x0806_0000]", "another size than 0x20000"),
        ("erase_bytes = 0x0002_0000", "erase_bytes = 0x4000", "0x4000, but stm32f446re erases"),
        ("size = 0x0004_0000", "size = 0x0003_0000", r"the program .* whole units \(4 of 0x4000"),
        ("led = 5 ", "led = 49", "led = 49 is no pin of stm32f446re, which has 0 to 47, 50 to 50"),
        ("usart = 2", "usart = 3", "usart = 3 is not in 1 to 2"),
    ],
)
def test_sectors_and_pins_of_an_stm32f4(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_board(nucleo(tmp_path, (old, new)))


def test_a_program_may_begin_behind_small_sectors(tmp_path: Path) -> None:
    """As where a boot loader takes the first two of 16 KB."""
    path = nucleo(
        tmp_path,
        ("origin = 0x0800_0000\nsize = 0x0004_0000", "origin = 0x0800_8000\nsize = 0x0003_8000"),
    )
    assert read_board(path).flash.end == 0x0804_0000


# -- Against a map of every page -----------------------------------------------------------------


def owners(board: Board, chip: Chip) -> bool:
    """The oracle: each unit of flash is painted by at most one of those who want it."""
    assert board.store is not None
    painted = np.zeros(chip.flash.size // PAGE, int)
    wanted = [board.flash, *board.regions[:2], *(r for r in board.kept if r.size)]
    for region in wanted:
        if region.origin % PAGE or region.size % PAGE or region.size <= 0:
            return False
        if not 0 <= region.origin < region.end <= chip.flash.end:
            return False
        painted[region.origin // PAGE : region.end // PAGE] += 1
    taken = [r for loader in board.boot_loaders for r in loader.regions]
    for region in (*taken, Region(origin=0, size=board.flash.origin)):
        mine = np.zeros_like(painted)
        mine[region.origin // PAGE : -(-region.end // PAGE)] = 1
        painted[(painted > 0) & (mine > 0)] += 1
    return painted.max() == 1


def near_pages(most: int) -> st.SearchStrategy[int]:
    """Multiples of a page, and their neighbours."""
    return st.builds(
        lambda page, by: page * PAGE + by, st.integers(-1, most), st.sampled_from([0] * 8 + [-1, 4])
    )


@settings(max_examples=400, deadline=None)
@given(
    flash=st.tuples(near_pages(40), near_pages(257)),
    slots=st.tuples(near_pages(257), near_pages(257)),
    slot_bytes=near_pages(40),
    loader=st.tuples(st.integers(0, 255), st.integers(1, 40)),
)
def test_no_unit_of_flash_belongs_to_two(
    flash: tuple[int, int], slots: tuple[int, int], slot_bytes: int, loader: tuple[int, int]
) -> None:
    chip = FAMILIES["nrf52840"].chips["nrf52840"]
    at, pages = loader[0], min(loader[1], 256 - loader[0])
    region = Region(origin=at * PAGE, size=pages * PAGE - 1)
    board = load_board("nrf52840_dk").model_copy(
        update={
            "flash": Region(origin=flash[0], size=flash[1]),
            "store": Store(slots=slots, slot_bytes=slot_bytes, erase_bytes=PAGE),
            "boot_loaders": (BootLoader(name="x", regions=(region,)),),
        }
    )
    assert (list(mistakes(board)) == []) == owners(board, chip)


@pytest.mark.parametrize("pages", [0, 1, 100, 0x7A - 1])
def test_what_the_network_keeps_lies_between_program_and_store(tmp_path: Path, pages: int) -> None:
    board = read_board(feather(tmp_path)).keeping(pages * PAGE, 0)
    assert board.flash.end == board.regions[2].origin and board.regions[2].end == 0xA0000


@pytest.mark.parametrize(
    ("features", "best"), [(0x7A * PAGE, 0), (0x70 * PAGE, 0x10 * PAGE), (PAGE + 4, 0), (2**40, 0)]
)
def test_what_the_network_keeps_must_fit(tmp_path: Path, features: int, best: int) -> None:
    with pytest.raises(UserError, match="of flash for what the network keeps there, the program"):
        read_board(feather(tmp_path)).keeping(features, best)


# -- Families, emulators, and one bad file among others ------------------------------------------


def test_chips_are_as_their_virtual_models_have_them() -> None:
    families = all_chips()
    virtual = {name for name, of in families.items() if "virtual" in of.chips[name].emulators}
    assert virtual == {name for name, family in families.items() if family.virtual}
    for name in virtual:
        family = families[name]
        chip = family.chips[name]
        any_board = next(b for b in boards.readable_boards() if b.family == family.name).model_copy(
            update={"chip": name}
        )
        memory = model_of(family).memory(any_board)
        assert (memory.flash.address, memory.flash.size) == (chip.flash.origin, chip.flash.size)
        assert (memory.ram[0].address, memory.ram[0].size) == (chip.ram.origin, chip.ram.size)


@pytest.mark.parametrize("name", all_chips())
def test_the_units_of_a_chip_fill_its_flash(name: str) -> None:
    chip = all_chips()[name].chips[name]
    assert sum(count * size for count, size in chip.units) == chip.flash.size
    assert chip.unit(chip.flash.end) is None and chip.unit(chip.flash.origin - 1) is None


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of boards, one of them with two slots in one place."""
    folder = tmp_path / "boards"
    shutil.copytree(BOARDS, folder)
    feather(folder, ("[0x000A_0000, 0x000C_0000]", "[0x000A_0000, 0x000A_0000]"))
    monkeypatch.setattr(boards, "BOARDS", folder)
    return folder


def test_compile_names_what_is_wrong_and_writes_nothing(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.toml: slot 1 .* overlap"):
        tinyodl.compile(SHIPPED[0], "mine", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_one_bad_file_leaves_the_others_usable(mine: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(commands, ["boards"])
    assert answer.exit_code == 0
    for name in ("nano33ble", "nrf52840_dk", "netduinoplus2", "nucleo_f446re", "host"):
        assert name in answer.stdout
    assert "mine.toml: slot 1" in answer.stderr
    tinyodl.compile(SHIPPED[0], "nrf52840_dk", tmp_path / "p")


def test_a_family_without_its_folder_is_an_error_of_compile(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = tmp_path / "templates" / "ports"
    shutil.copytree(TEMPLATES / "ports", ports)
    monkeypatch.setattr(chips, "PORTS", ports)
    for source in (ports / "stm32f4").glob("*.c"):
        source.unlink()
    with pytest.raises(UserError, match=r"templates/ports/stm32f4 .* cortex_m4, host, nrf52840"):
        tinyodl.compile(SHIPPED[0], "nucleo_f446re", tmp_path / "p")
    shutil.rmtree(ports / "stm32f4")
    with pytest.raises(UserError, match=r"'stm32f446re' is unknown; .*, nrf52840, .*A new chip"):
        tinyodl.compile(SHIPPED[0], "nucleo_f446re", tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.h", "{0x000C0000u, 0x20000u}", "{0x000E0000u, 0x20000u}"),
        ("config.h", "{0x000C0000u, 0x20000u}", "{0x000C0000u, 0x40000u}"),
        ("link.ld", "ORIGIN = 0x00010000", "ORIGIN = 0x00000000"),
        ("link.ld", "LENGTH = 0x90000", "LENGTH = 0xF0000"),
    ],
)
def test_a_project_of_another_board_file_is_not_flashed(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    """As one that an earlier tinyodl compiled, or that somebody sent."""
    project = tmp_path / "p"
    tinyodl.compile(SHIPPED[0], "nano33ble", project)
    path = project / "lib" / "port" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(
        UserError, match=rf"{file} names other regions .* compile the project again"
    ):
        tinyodl.flash(project, port="virtual")
    assert not (project / ".pio").exists()


def test_an_upload_protocol_that_no_tool_here_speaks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="upload_protocol = 'nrfutil'; let PlatformIO fetch"):
        standin_upload(tmp_path, read_board(feather(tmp_path)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('core = "armv7em"', 'core = "armv9m"', r"core: Input should be 'host', 'armv6m'"),
        ('core = "armv7em"', 'core = "armv7em"\ncolour = 1', "colour: Extra inputs"),
        ('core = "armv7em"', "core =", "cannot be read"),
    ],
)
def test_a_family_file_that_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    shutil.copytree(TEMPLATES / "ports", tmp_path / "ports")
    monkeypatch.setattr(chips, "PORTS", tmp_path / "ports")
    file = tmp_path / "ports" / "stm32f4" / "family.toml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"stm32f4/family\.toml: {message}"):
        load_family("stm32f4")


@pytest.mark.parametrize(
    ("virtual", "message"),
    [
        ("", "no virtual chip of the family 'stm32f4'; there are nrf52840"),
        ("stm32f5", "names virtual = 'stm32f5', and there is no module tinyodl.virtual.stm32f5"),
        ("cycles", "tinyodl.virtual.cycles has no MODEL"),
    ],
)
def test_a_virtual_model_that_is_not_there_is_named(virtual: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_of(load_family("stm32f4").model_copy(update={"virtual": virtual}))


def test_no_code_asks_for_a_family_by_name() -> None:
    """What differs between families is in their files and folders."""
    names = "|".join(name for name in FAMILIES if name != "host")
    compared = rf"\b(port|family)\s*(==|!=|\bin\b).*[\"']({names}|host)[\"']"
    asks = re.compile(rf"{compared}|Literal\[.*({names})")
    for path in Path(tinyodl.__file__).parent.rglob("*.py"):
        assert [line for line in path.read_text().splitlines() if asks.search(line)] == [], path
