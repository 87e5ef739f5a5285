"""Python values as C text, the same text for the same value on every run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinyodl.graph import Array

_PER_LINE = 6
_INTEGERS_PER_LINE = 20

_LONGEST = 60  # characters of a name in an identifier


def float_literal(value: float | np.floating[Any]) -> str:
    """A float32 literal that reads back as the same bits; infinities as the builtin."""
    single = np.float32(value)
    if np.isinf(single):
        return f"{'-' if single < 0 else ''}__builtin_inff()"
    text = str(single)
    return f"{text if any(c in text for c in '.e') else text + '.0'}f"


def initializer(value: float | tuple[float, ...]) -> str:
    """The C text after `=` for a field of a struct: a number, or an array in braces."""
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


# Names are set apart by how they begin: nothing that tinyodl, a compiler or a C library defines
# begins like these. What is made of a tensor's identifier is told from it by how it ends.
TENSOR, NODE = "t_", "n_"
_ENDINGS = ("_initial", "_learner")


def identifiers(names: Iterable[str], prefix: str = TENSOR) -> dict[str, str]:
    """A valid C identifier for each name, unlike all others and as close to the name as C allows.

    A tensor "conv1.weight" is `t_conv1_weight`. Neither this name nor its derived names
    `t_conv1_weight_initial` and `t_conv1_weight_learner` collide with anything C code may define,
    macros and library functions included.
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    uses: dict[str, int] = {}
    for name in names:
        stem = re.sub(r"\W+", "_", name, flags=re.ASCII)[:_LONGEST].strip("_")
        stem = unique = f"{prefix}{stem or 'unnamed'}"
        while unique in taken or unique.endswith(_ENDINGS):
            uses[stem] = uses.get(stem, 1) + 1
            unique = f"{stem}_{uses[stem]}"
        taken.add(unique)
        given[name] = unique
    return given


def grouped(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}"


def dimensions(shape: tuple[int, ...]) -> str:
    """A shape as (1, 6, 1, 100)."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
