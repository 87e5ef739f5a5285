"""Kernels on an emulated Cortex-M4F, for instructions that the host has not."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const

from tests.kernel_headers import kernel_headers
from tests.ops.kernels import Arrays, argument
from tinyodl.codegen.literals import c_type
from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS, Call, Ref
from tinyodl.pio import find_arm_compiler
from tinyodl.resources import TEMPLATES
from tinyodl.targets.chips import FAMILIES
from tinyodl.targets.firmware import C_FLAGS

_CODE, _DATA, _STACK, _EXIT = 0x1_0000, 0x2000_0000, 0x2020_0000, 0x1000
_MEMORY = 1 << 20
_GUARD = 64  # bytes around each array that nothing may touch
_numbers = itertools.count()


def run_on_cortex_m4(
    call: Call,
    node: Node,
    graph: Graph,
    arrays: Arrays,
    folder: Path,
    over: Mapping[str, str] | None = None,
) -> None:
    """Run `call` on `arrays`, whose contents it changes; `over` names arrays that lie over others.

    Raises unicorn.UcError for memory that is no array's, and AssertionError where the kernel has
    written around an array.
    """
    names = dict.fromkeys(a.tensor for a in call.arguments if isinstance(a, Ref) and a.tensor)
    over = over or {}
    places, end = {}, _DATA
    for name in (name for name in names if name not in over):
        places[name] = end + _GUARD
        end += 2 * _GUARD + -(-arrays[name].nbytes // 8) * 8
    alone = dict(places)
    places |= {name: places[under] for name, under in over.items()}
    texts = {
        name: f"(({c_type(graph.tensor(name).dtype)} *){place:#x})"
        for name, place in places.items()
    }
    arguments = ", ".join(argument(a, texts) for a in call.arguments)
    source = folder / f"m4_{next(_numbers)}.c"
    source.write_text(
        f'#include "{OPERATORS[node.op].kernel}"\nvoid run(void)\n{{\n    '
        f"{call.function}({arguments});\n}}\n"
    )
    machine = _machine(_built(source))
    machine.mem_write(_DATA, b"\xa5" * _MEMORY)
    for name, place in alone.items():
        machine.mem_write(place, arrays[name].tobytes())
    machine.emu_start(_CODE | 1, _EXIT, count=50_000_000)
    assert machine.reg_read(arm_const.UC_ARM_REG_PC) == _EXIT
    for name, place in alone.items():
        size = arrays[name].nbytes
        around = [machine.mem_read(place - _GUARD, _GUARD), machine.mem_read(place + size, _GUARD)]
        assert set(around[0]) == set(around[1]) == {0xA5}, name
    for name, place in places.items():
        found = bytes(machine.mem_read(place, arrays[name].nbytes))
        found = np.frombuffer(found, arrays[name].dtype)
        arrays[name][...] = found.reshape(arrays[name].shape)


class CortexM4:
    """A C file with `void run(void *const *arrays)`, which finds its arrays through pointers."""

    def __init__(self, source: Path, *include: Path) -> None:
        self._elf = _built(source, *include)

    def __call__(self, arrays: Sequence[np.ndarray | None]) -> None:
        """Run it on arrays, whose contents it changes; None is a NULL.

        Raises as run_on_cortex_m4() does. Arrays begin at words, no more.
        """
        machine = _machine(self._elf)
        machine.mem_write(_DATA, b"\xa5" * _MEMORY)
        places, end = [], _DATA + 4 * len(arrays)
        for array in arrays:
            places.append(end + _GUARD + 4 if array is not None else 0)
            end += 2 * _GUARD + -(-array.nbytes // 4) * 4 if array is not None else 0
        given = [(p, a) for p, a in zip(places, arrays, strict=True) if a is not None]
        machine.mem_write(_DATA, np.array(places, np.uint32).tobytes())
        for place, array in given:
            machine.mem_write(place, array.tobytes())
        machine.reg_write(arm_const.UC_ARM_REG_R0, _DATA)
        machine.emu_start(_CODE | 1, _EXIT, count=50_000_000)
        assert machine.reg_read(arm_const.UC_ARM_REG_PC) == _EXIT
        for number, (place, array) in enumerate(given):
            around = machine.mem_read(place - 32, 32), machine.mem_read(place + array.nbytes, 32)
            assert set(around[0]) == set(around[1]) == {0xA5}, number
            found = bytes(machine.mem_read(place, array.nbytes))
            array[...] = np.frombuffer(found, array.dtype).reshape(array.shape)


def _built(source: Path, *include: Path) -> Path:
    """The ELF whose code begins with `run`."""
    ports = TEMPLATES / "ports" / "cortex_m4"
    elf = source.with_suffix(".elf")
    script = source.with_name("run.ld")
    script.write_text(
        f"ENTRY(run) SECTIONS {{ . = {_CODE:#x};\n"
        ".all : { KEEP(*(.text.run)) *(.text*) *(.rodata*) }\n"
        "/DISCARD/ : { *(.ARM.*) } }\n"
    )
    floats = FAMILIES["stm32f4"].float_flags
    command = [*find_arm_compiler().command, *C_FLAGS, *floats, "-mcpu=cortex-m4", "-mthumb"]
    command += [f"-I{path}" for path in (*include, kernel_headers(), ports)]
    command += [str(source), str(ports / "memory.c")]
    command += ["-nostdlib", "-nostartfiles", "-Wl,-e,run", f"-T{script}", "-lgcc", "-o", str(elf)]
    subprocess.run(command, check=True)
    return elf


def _machine(elf: Path) -> unicorn.Uc:
    mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
    machine = unicorn.Uc(unicorn.UC_ARCH_ARM, mode, arm_const.UC_CPU_ARM_CORTEX_M4)
    for start in (_CODE, _DATA, _STACK - _MEMORY):
        machine.mem_map(start, _MEMORY)
    machine.mem_map(_EXIT, 0x1000)
    with elf.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".all")
        assert section is not None
        machine.mem_write(section["sh_addr"], section.data())
    machine.reg_write(arm_const.UC_ARM_REG_SP, _STACK)
    machine.reg_write(arm_const.UC_ARM_REG_LR, _EXIT | 1)
    return machine
