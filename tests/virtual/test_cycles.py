"""The cost model, line by line against Arm's Cortex-M4 technical reference manual (DDI 0439)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tinyodl.virtual.cycles import WAIT_FOR_EVENT, WAIT_FOR_INTERRUPT, CodeTable, tabulate
from tinyodl.virtual.image import load_image

# Each line: assembly, modelled cycles without taken branches. Table 3-1 and table 7-1.
COSTS = [
    ("add r0, r1, r2", 1),
    ("mla r0, r1, r2, r3", 1),
    ("umlal r0, r1, r2, r3", 1),
    ("smlad r0, r1, r2, r3", 1),
    ("clz r0, r1", 1),
    ("sdiv r0, r1, r2", 7),
    ("ldr r0, [r1]", 2),
    ("ldr r0, [r1]\n ldr r2, [r3]", 2 + 1),
    ("ldr r0, [r1]\n ldr r2, [r0]", 2 + 2),
    ("ldr r0, [r1], #4\n ldr r2, [r1], #4", 2 + 1),
    ("ldrb r0, [r1, r2]\n ldrsh r3, [r4, #2]", 2 + 1),
    ("str r0, [r1]", 1),
    ("str r0, [r1, r2]", 2),
    ("str r0, [r1], #4\n str r2, [r1], #4", 2),
    ("add r1, r2, r3\n str r0, [r1]", 1 + 1 + 1),
    ("add r1, r2, r3\n ldr r0, [r1, #4]", 1 + 2 + 1),
    ("ldrd r0, r1, [r2]", 1 + 2),
    ("push {r4, r5, r6, lr}", 1 + 4),
    ("ldmia r0!, {r1, r2, r3}", 1 + 3),
    ("stmdb r0!, {r1, r2}", 1 + 2),
    ("vldr s0, [r0]", 2),
    ("vldr d0, [r0]", 3),
    ("vstr s0, [r0]", 2),
    ("vldmia r0!, {s0, s1, s2, s3}", 1 + 4),
    ("vpush {d8, d9}", 1 + 4),
    ("vadd.f32 s0, s1, s2", 1),
    ("vmul.f32 s0, s1, s2\n vadd.f32 s3, s4, s5", 2),
    ("vmul.f32 s0, s1, s2\n vadd.f32 s3, s3, s0", 1 + 1 + 1),
    ("vfma.f32 s0, s1, s2", 3),
    ("vmla.f32 s0, s1, s2", 3),
    ("vdiv.f32 s0, s1, s2", 14),
    ("vsqrt.f32 s0, s1", 14),
    ("vcvt.s32.f32 s0, s1", 1),
    ("vmov r0, s0", 1),
    ("vmov r0, r1, d0", 2),
    ("vmrs apsr_nzcv, fpscr", 1),
    ("mrs r0, primask", 2),
    ("it eq\n moveq r0, #1", 2),
    ("ite lo\n ldrlo r0, [r1]\n strhs r0, [r1]", 1 + 2 + 1),
    ("nop", 1),
]

# What the end of an instruction may cost or do.
ENDS = [
    ("b .", 1),
    ("beq .", 1),
    ("beq.w .", 1),
    ("cbz r0, . + 4", 1),
    ("bl .", 1),
    ("blx r0", 2),
    ("bx lr", 2),
    ("tbb [pc, r0]", 2),
    ("pop {r4, pc}", 2),
    ("ldr pc, [r0, r1, lsl #2]", 2),
    ("mov pc, r0", 2),
    ("it ne\n bxne lr", 2),
    ("wfe", WAIT_FOR_EVENT),
    ("wfi", WAIT_FOR_INTERRUPT),
    ("add r0, r1", 0),
    ("bls .", 1),
    ("vmls.f32 s0, s1, s2", 0),
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CodeTable]:
    """Each snippet in a section of its own."""
    folder = tmp_path_factory.mktemp("snippets")
    snippets = [text for text, _ in COSTS + ENDS]
    source = "\n".join(
        f'.section .s{index}, "ax"\n {text}\n .ltorg' for index, text in enumerate(snippets)
    )
    path = folder / "snippets.s"
    path.write_text(f".syntax unified\n.cpu cortex-m4\n.fpu fpv4-sp-d16\n.thumb\n{source}\n")
    return dict(zip(snippets, _assemble(path), strict=True))


def _assemble(source: Path) -> list[CodeTable]:
    target = source.with_suffix(".o")
    subprocess.run([require_tool("arm-none-eabi-as"), str(source), "-o", str(target)], check=True)
    return [tabulate(section, "cortex-m4") for section in load_image(target).code]


@pytest.mark.parametrize(("text", "cycles"), COSTS)
def test_an_instruction_costs(tables: dict[str, CodeTable], text: str, cycles: int) -> None:
    table = tables[text]
    assert table.sums[-1]["cycles"] == cycles
    assert table.sums[-1]["instructions"] == text.count("\n") + 1


@pytest.mark.parametrize(("text", "end"), ENDS)
def test_an_instruction_ends(tables: dict[str, CodeTable], text: str, end: int) -> None:
    assert tables[text].ends[-1] == end


def test_literals_between_instructions_cost_nothing(tmp_path: Path) -> None:
    source = tmp_path / "literals.s"
    source.write_text(".syntax unified\n.cpu cortex-m4\n.thumb\n ldr r0, =0x12345678\n bx lr\n")
    (table,) = _assemble(source)
    assert table.size == 8
    assert tuple(table.sums[-1]) == (2, 3)
