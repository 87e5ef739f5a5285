"""The cycles of each instruction on a Cortex-M4F: a table per half-word of the image's code.

The costs are those of Arm's Cortex-M4 technical reference manual (DDI 0439, sections 3.3.1 and
7.2.3), for code and data without wait states. Costs that depend on data take the middle (SDIV and
UDIV, 2 to 12); pipeline effects are counted between neighbours in the code. The result has never
been compared with silicon: it is "modelled M4 cycles". Instruction counts are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import capstone
import numpy as np
from numpy.typing import NDArray

from tinyodl.errors import UserError
from tinyodl.virtual.image import CodeSection

# What the end of an instruction does to the flow, as `CodeTable.ends` says it.
TAKEN_CYCLES = 0x0F  # extra cycles when execution goes on elsewhere
WAIT_FOR_EVENT = 0x40
WAIT_FOR_INTERRUPT = 0x80

_EXCEPTIONS = {"cortex-m4": (12, 10), "": (0, 0)}  # DDI 0439, section 3.9.1

SUM = np.dtype([("instructions", np.uint32), ("cycles", np.uint32)])


@dataclass(frozen=True)
class CodeTable:
    """One executable section. Entry i of the arrays belongs to address + 2 * i."""

    address: int
    size: int  # bytes
    sums: NDArray[np.void]  # of SUM: all instructions of the section before this half-word
    ends: NDArray[np.uint8]  # of the instruction that ends here
    signals: tuple[int, ...]  # addresses of SEV instructions


def tabulate(section: CodeSection, model: str) -> CodeTable:
    """One pass over a section's instructions, with costs from the processor's model.

    Without a model, "", each counts one: cycles are then instructions.
    """
    costs, extra = _MODELS[model]
    halfwords = len(section.data) // 2
    counts = np.zeros(halfwords + 1, SUM)
    ends = np.zeros(halfwords + 1, np.uint8)
    signals = []
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = True
    decoder.skipdata = True  # an undefined instruction faults only if it is executed
    for start, end in section.spans:
        previous = None
        base = section.address
        for instruction in decoder.disasm(section.data[start - base : end - base], start):
            current = _describe(instruction)
            at = (instruction.address - base) // 2
            counts[at] = (1, costs(current, previous))
            ends[at + instruction.size // 2] = _end(current) & extra
            if current.name == "sev":
                signals.append(instruction.address)
            previous = current
    sums = np.zeros(halfwords + 1, SUM)
    for field in ("instructions", "cycles"):
        np.cumsum(counts[field][:-1], out=sums[field][1:])
    return CodeTable(section.address, len(section.data), sums, ends, tuple(signals))


@dataclass(frozen=True)
class _Instruction:
    name: str  # mnemonic without condition and width, such as "ldr" or "vmul"
    operands: str
    reads: frozenset[str]
    results: frozenset[str]  # registers written, without a transfer's updated base
    addresses: frozenset[str]  # registers that make up a memory address
    indexed: bool  # a register is the offset
    registers: int  # in the register list of a multiple transfer


_CONDITIONS = (
    *("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"),
    *("cs", "cc", "al"),
)


def _describe(instruction: capstone.CsInsn) -> _Instruction:
    if instruction.id == 0:  # skipped data
        none: frozenset[str] = frozenset()
        return _Instruction("", "", none, none, none, False, 0)
    reads, writes = instruction.regs_access()
    name = instruction.reg_name
    addresses = set()
    indexed = False
    registers = 0
    for operand in instruction.operands:
        if operand.type == capstone.arm.ARM_OP_MEM:
            if operand.mem.base and operand.mem.base != capstone.arm.ARM_REG_PC:
                addresses.add(name(operand.mem.base))
            if operand.mem.index:
                addresses.add(name(operand.mem.index))
                indexed = True
        elif operand.type == capstone.arm.ARM_OP_REG:
            registers += 1
    results = frozenset(name(r) for r in writes)
    if instruction.writeback:
        results -= addresses
    return _Instruction(
        _plain(instruction.mnemonic, instruction.cc != capstone.arm.ARM_CC_AL),
        instruction.op_str,
        frozenset(name(r) for r in reads),
        results,
        frozenset(addresses),
        indexed,
        registers,
    )


def _plain(mnemonic: str, conditional: bool) -> str:
    name = mnemonic.split(".")[0]
    if conditional and name[-2:] in _CONDITIONS and len(name) > 2:
        name = name[:-2]
    return name


_LOADS = frozenset(("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "ldrt", "ldrbt", "ldrht"))
_STORES = frozenset(("str", "strb", "strh", "strt", "strbt", "strht"))
_MULTIPLE = frozenset(("ldm", "ldmdb", "stm", "stmdb", "push", "pop"))
_FLOAT_MULTIPLE = frozenset(("vldmia", "vldmdb", "vstmia", "vstmdb", "vpush", "vpop"))
_FUSED = ("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms")
_FLOAT_RESULTS = (
    *("vadd", "vsub", "vmul", "vnmul", "vdiv", "vsqrt", "vcvt", "vcvtr", "vabs", "vneg"),
    *_FUSED,
)
_MIDDLE_OF_A_DIVISION = 7  # 2 to 12, by how many bits the quotient has


def _cycles(it: _Instruction, before: _Instruction | None) -> int:
    cost = _own_cycles(it)
    if before is None:
        return cost
    if it.name in _LOADS and before.name in _LOADS:
        independent = not (before.results & it.addresses)
        return 1 if independent else cost
    waits_for_float = before.name in _FLOAT_RESULTS and bool(before.results & it.reads)
    loads = before.name in _LOADS or _moves_many(before)
    waits_for_address = not loads and bool(before.results & it.addresses)
    return cost + 1 if waits_for_float or waits_for_address else cost


def _moves_many(it: _Instruction) -> bool:
    return it.name in _MULTIPLE or it.name in _FLOAT_MULTIPLE or it.name in ("ldrd", "strd")


def _own_cycles(it: _Instruction) -> int:
    name = it.name
    if name in _LOADS or name in ("ldrex", "ldrexb", "ldrexh", "strex", "strexb", "strexh"):
        return 2
    if name in _STORES:
        return 2 if it.indexed else 1
    if name in _MULTIPLE:
        listed = it.registers if name in ("push", "pop") else it.registers - 1
        return 1 + listed
    if name in _FLOAT_MULTIPLE:
        listed = it.registers if name in ("vpush", "vpop") else it.registers - 1
        return 1 + listed * (2 if "d" in it.operands.split("{")[-1] else 1)
    if name in ("ldrd", "strd"):
        return 3
    if name in ("vldr", "vstr"):
        return 3 if it.operands.startswith("d") else 2
    if name in _FUSED:
        return 3
    if name in ("vdiv", "vsqrt"):
        return 14
    if name in ("sdiv", "udiv"):
        return _MIDDLE_OF_A_DIVISION
    if name == "vmov" and it.registers == 3:  # a double register from or to two core registers
        return 2
    if name in ("mrs", "msr"):
        return 2
    return 1


def _end(it: _Instruction) -> int:
    name = it.name
    if name == "wfe":
        return WAIT_FOR_EVENT
    if name == "wfi":
        return WAIT_FOR_INTERRUPT
    if name in ("b", "bl", "cbz", "cbnz"):
        return 1
    if name in ("bx", "blx", "tbb", "tbh") or (name[:1] != "v" and "pc" in it.results):
        return 2
    if name == "pop" and "pc" in it.operands:
        return 2
    return 0


def _one(it: _Instruction, before: _Instruction | None) -> int:
    return 1


# By the model's name in a family's data: the cost of an instruction after the one before it, and
# which bits of its end count.
_MODELS: Mapping[str, tuple[Callable[[_Instruction, _Instruction | None], int], int]] = {
    "cortex-m4": (_cycles, 0xFF),
    "": (_one, WAIT_FOR_EVENT | WAIT_FOR_INTERRUPT),
}


def exception_cycles(model: str) -> tuple[int, int]:
    """The cycles of the entry into a handler, and of the return.

    Raises UserError if there is no such model.
    """
    if model not in _EXCEPTIONS:
        known = ", ".join(name for name in _EXCEPTIONS if name)
        raise UserError(
            f"there is no model of the cycles of a {model!r}, only of a {known}; a family "
            "whose file names none is counted in instructions"
        )
    return _EXCEPTIONS[model]
