"""Python values as C text, the same text for the same value on every run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from tinyodl.graph import Array
from tinyodl.resources import TEMPLATES

_PER_LINE = 6
_INTEGERS_PER_LINE = 20

# C keywords, and what the generated files and the C library's headers define.
_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while asm typeof
"""
_DEFINED = """
    NULL size_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
    memcpy memset memcmp main arena label pending forward backward measure_loss apply best i
    learning_rate adam_rate adam_root turn next_turn work_on rows receive_sample buffer offset from
    count row channel at taken CHANNELS HELD LINE learning in_use choices of anomalous
    flags sure_from look decide note learn begin keep go_back right guard_check margin held now kept
    compiled above FLAG_WANTED FLAG_DRIFT FLAG_UNTRAINED FLAG_UNSURE FLAG_CHANCE
    FLAG_HELD_BACK FLAG_KEPT FLAG_RETURNED
    prefix suffix remember recall slot predicted largest_output learn_again draw loss_before
    CACHE_HELD CACHE_RANDOM CACHE_DRAWN CACHE_CLASSES CACHE_RESERVOIR CACHE_BALANCED
    DRAW_UNIFORM DRAW_BALANCED DRAW_ORDERS
    is_outlier outlier peaks arrived_peak FLAG_OUTLIER
"""

# In kernels, at the start of a line: the end of a struct type, an enum, or a function.
_DEFINITION = re.compile(r"^\} (\w+);|^enum \{ (\w+)|^(?=\w).*?(\w+)\((?!\()", re.MULTILINE)


@cache
def reserved() -> frozenset[str]:
    """What no tensor may be called in C: keywords, and what the included files define."""
    kernels = (path.read_text("utf-8") for path in sorted((TEMPLATES / "kernels").iterdir()))
    defined = (match[match.lastindex or 0] for k in kernels for match in _DEFINITION.finditer(k))
    return frozenset((*_KEYWORDS.split(), *_DEFINED.split(), *defined))


def float_literal(value: float | np.floating[Any]) -> str:
    """A float32 literal that reads back as the same bits; infinities as the builtin."""
    single = np.float32(value)
    if np.isinf(single):
        return f"{'-' if single < 0 else ''}__builtin_inff()"
    text = str(single)
    return f"{text if any(c in text for c in '.e') else text + '.0'}f"


def initializer(value: float | tuple[float, ...]) -> str:
    """What stands behind `=` for a field of a struct: a number, or an array in braces."""
    if isinstance(value, tuple):
        return "{" + ", ".join(initializer(each) for each in value) + "}"
    return float_literal(value) if isinstance(value, float) else str(value)


def c_type(dtype: str) -> str:
    """The C type of a tensor's elements."""
    return "float" if dtype == "float32" else f"{dtype}_t"


def array_literal(values: Array) -> str:
    """The elements of an array of floats or integers, a few per line, indented."""
    floats = values.dtype.kind == "f"
    literals = [float_literal(v) for v in values.ravel()] if floats else _integers(values)
    per_line = _PER_LINE if floats else _INTEGERS_PER_LINE
    lines = [
        "    " + ", ".join(literals[i : i + per_line]) for i in range(0, len(literals), per_line)
    ]
    return ",\n".join(lines)


def _integers(values: Array) -> list[str]:
    return [str(value) for value in values.ravel().tolist()]


_OURS = ("_f32", "_shape", "_learner", "_initial", "_part")  # endings of what is named by us


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A valid and unique C identifier for each name, as close to the name as C allows."""
    given: dict[str, str] = {}
    taken = set(reserved())
    for name in names:
        stem = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "tensor"
        if stem[0].isdigit() or stem.startswith(("net_", "port_", "NET_")):
            stem = f"t_{stem}"
        unique, count = stem, 2
        while unique in taken or unique.endswith(_OURS):
            unique, count = f"{stem}_{count}", count + 1
        taken.add(unique)
        given[name] = unique
    return given


def grouped(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}"


def dimensions(shape: tuple[int, ...]) -> str:
    """A shape as (1, 6, 1, 100)."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
