"""Writes docs/operators.md from the operator tables and the cases of the ONNX backend tests.

python -m tests.operators_page
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import onnx

from tests.backend import FOLDED, OPERATORS, all_cases, reason_to_exclude
from tinyodl.frontend.load import NEWEST_OPSET, OLDEST_OPSET
from tinyodl.ops import IMPORTERS
from tinyodl.ops import OPERATORS as RULES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operators.md"
_NOTHING_TO_DERIVE = {"Identity"}

_HEAD = """# Operators

Written by `python -m tests.operators_page` from the tables in `tinyodl/ops/` and the tests; a test
keeps it up to date. Shapes are static, ONNX opset {oldest} to {newest}. Operators compute in
float32, and where the kernels are `_i8.h` between int8 tensors; their gradients are float32.

Forward and gradients are compared with PyTorch in float64 on random shapes and attributes (the test
files below), int8 operators with its fake quantisation and with onnxruntime. The generated C runs
the ONNX project's own node tests (`onnx.backend.test` of onnx {version}): **{passed} cases pass,
{excluded} are excluded** by the rules at the end, and nothing else is left out.

| ONNX | covers | refused | gradient | kernels | tests | backend cases |
|---|---|---|---|---|---|--:|
"""

_FOLDED = """
`{folded}` are folded away at compile time: they work on constants and on
shapes, which are static. So do the other operators of shape arithmetic, where all their inputs are
constant.

## Backend cases that are excluded

| operator | reason | cases |
|---|---|--:|
"""


def page() -> str:
    """The text of docs/operators.md."""
    counts = {
        op: Counter(reason_to_exclude(op, case) for case in cases)
        for op, cases in all_cases().items()
    }
    passed = sum(count[""] for count in counts.values())
    excluded = sum(count.total() for count in counts.values()) - passed
    lines = [
        _HEAD.format(
            oldest=OLDEST_OPSET,
            newest=NEWEST_OPSET,
            version=onnx.__version__,
            passed=passed,
            excluded=excluded,
        )
    ]
    tests = _texts_of_tests()
    for op, importer in sorted(IMPORTERS.items()):
        cells = (
            op,
            importer.covers,
            importer.limits,
            _gradient(importer.becomes),
            _kernels(importer.becomes),
            _tests(op, importer.becomes, tests),
            f"{counts[op][''] or ''}",
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    lines.append(_FOLDED.format(folded="`, `".join(sorted(FOLDED))))
    for op in OPERATORS:
        for reason, number in sorted(counts[op].items()):
            if reason:
                lines.append(f"| {op} | {reason} | {number} |\n")
    return "".join(lines)


def _gradient(becomes: tuple[str, ...]) -> str:
    without = [op for op in becomes if op not in _NOTHING_TO_DERIVE and not RULES[op].gradient]
    if not without:
        return "yes"
    return "no" if len(without) == len(becomes) else f"not of {', '.join(without)}"


def _kernels(becomes: tuple[str, ...]) -> str:
    found = []
    for op in becomes:
        gradients = [name for name in RULES if re.fullmatch(rf"{op}\w*Gradient", name)]
        for name in (op, *gradients):
            kernel = RULES[name].kernel if name in RULES else None
            if kernel and kernel not in found:
                found.append(kernel)
    return ", ".join(f"`{name}`" for name in found) or "none: a view"


def _tests(op: str, becomes: tuple[str, ...], texts: dict[str, str]) -> str:
    """The files in tests/ops and tests/frontend that name the operator in quotes."""
    names = {op, *becomes} - {"Reshape", "Identity"} or {op}
    return ", ".join(
        f"`{path}`"
        for path, text in texts.items()
        if any(f'"{name}"' in text for name in (names | {op}))
    )


def _texts_of_tests() -> dict[str, str]:
    files = [*sorted((ROOT / "tests" / "ops").glob("test_*.py"))]
    return {path.name: path.read_text("utf-8") for path in files}


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)} is written")
