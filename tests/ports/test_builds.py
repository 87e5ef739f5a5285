"""What tests build without PlatformIO is what users build with it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.objects import compiled
from tests.projects import flat_model
from tinyodl import pio
from tinyodl.errors import ToolError
from tinyodl.targets.boards import load_board


@pytest.mark.parametrize(
    "name, compiler",
    [
        *(("host", compiler) for compiler in ("gcc", "zig")),
        *(("nano33ble", compiler) for compiler in ("gcc", "zig")),
        *(("nucleo_l4r5zi", compiler) for compiler in ("gcc", "zig")),
        ("nucleo_f446re", "gcc"),
    ],
)
def test_a_programs_bytes_are_those_that_the_product_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, compiler: str
) -> None:
    """One board of each family: the others have the same options and other numbers."""
    if compiler == "gcc":
        require_tool("arm-none-eabi-gcc")
    monkeypatch.setenv("TINYODL_COMPILER", compiler)
    board = load_board(name)
    tinyodl.compile(flat_model(tmp_path / "flat.onnx"), name, tmp_path / "product")
    shutil.copytree(tmp_path / "product", tmp_path / "tests")
    product = pio.build(tmp_path / "product", board)
    ours = build(tmp_path / "tests", board, optimised=True)
    assert replace(ours, elf=product.elf) == product
    if (name, compiler) == ("host", "zig"):  # whose linker writes paths beside the program
        assert in_memory(ours.elf) == in_memory(product.elf)
    else:
        assert ours.elf.read_bytes() == product.elf.read_bytes()


def in_memory(elf: Path) -> dict[str, bytes]:
    """The sections of code and constants."""
    with elf.open("rb") as file:
        sections = ELFFile(file).iter_sections("SHT_PROGBITS")
        return {section.name: section.data() for section in sections if section["sh_addr"]}


def test_an_object_follows_all_that_it_is_made_from(tmp_path: Path) -> None:
    require_tool("gcc")
    (tmp_path / "a.c").write_text('#include "a.h"\nint a(void) { return A + B; }\n')
    (tmp_path / "a.h").write_text("#define A 1\n")

    def made(*options: str) -> Path:
        return compiled(["gcc", "-DB=1", *options], "a.c", tmp_path, os.environ)

    first = made()
    assert made() == first == made("-DUNUSED=1")
    others = [made("-O2"), made("-UB", "-DB=2")]
    (tmp_path / "a.h").write_text("#define A 2\n")
    others.append(made())
    assert len({first, *others}) == 4
    (tmp_path / "a.h").write_text("#define A what\n")
    for _ in range(2):
        with pytest.raises(ToolError, match="what"):
            made()
