"""The RAM that the memory prediction counts for lib/device, against what compilers make of it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tests.conftest import require_tool
from tests.device import bench
from tinyodl.resources import TEMPLATES
from tinyodl.targets import firmware
from tinyodl.targets.chips import FAMILIES

SOURCES = [*sorted((TEMPLATES / "device").glob("*.c")), TEMPLATES / "project/src/main.c"]


def static_ram(compiler: list[str], folder: Path) -> int:
    """Bytes of the sections that are writable on the device, over all objects."""
    bench.write_config(folder)
    templates = (TEMPLATES / name for name in ("device", "ports", "kernels"))
    includes = (folder, *templates, bench.HERE / "fake_net")
    total = 0
    for source in SOURCES:
        built = folder / f"{source.stem}.o"
        subprocess.run(
            [
                *compiler, *firmware.C_FLAGS, *(f"-I{include}" for include in includes),
                f"-I{TEMPLATES / 'ports/cortex_m4'}", "-c", source, "-o", built,
            ],
            check=True,
        )  # fmt: skip
        with built.open("rb") as file:
            for section in ELFFile(file).iter_sections():
                writable = SH_FLAGS.SHF_WRITE | SH_FLAGS.SHF_ALLOC
                if section["sh_flags"] & writable == writable:
                    total += section["sh_size"]
    return total


def test_gcc_takes_the_predicted_ram(tmp_path: Path) -> None:
    gcc = require_tool("arm-none-eabi-gcc")
    cpu = ["-mcpu=cortex-m4", "-mthumb", *FAMILIES["stm32f4"].float_flags]
    assert static_ram([gcc, *cpu], tmp_path) == firmware.DEVICE_RAM


def test_clang_takes_the_predicted_ram(tmp_path: Path) -> None:
    if find_spec("ziglang") is None:
        require_tool("zig")  # skips here, fails where CI must run every test
    target = ["-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp"]
    zig = [sys.executable, "-m", "ziglang", "cc"]
    assert static_ram([*zig, *target], tmp_path) == firmware.DEVICE_RAM
