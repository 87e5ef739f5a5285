"""`OPTIONS`: all options of compilation, from where each is declared."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tinyodl.learning.beside import sections
from tinyodl.project.model_options import OPTIONS as MODEL
from tinyodl.project.option import Millijoules, Milliseconds, Option, Size
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.rule_options import LEARNER, RULE

OFTEN = "What most people need"

OPTIONS: Mapping[str, Option] = {
    option.name: option
    for part in (MODEL, LEARNER, RULE, *(section.OPTIONS for section in sections().values()))
    for option in part
}

# What `tinyodl.compile` takes by itself; all others are `**options`.
OWN = ("board", "out", "ram", "flash")
KEYWORDS = tuple(name for name in OPTIONS if name not in OWN)

_SIZE = re.compile(r"(\d+)\s*(|B|K|KiB|M|MiB)", re.IGNORECASE | re.ASCII)
_QUANTITY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([A-Za-z]{1,2})", re.ASCII)
_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2}


def field_of(option: Option) -> FieldInfo | None:
    """The field of the plan that an option fills with its value as it is."""
    if option.section == "rule":
        return UpdatePlan.model_fields[option.field or option.name]
    return sections()[option.section].model_fields[option.field] if option.field else None


def kind_of(option: Option) -> Any:
    """The type of an option's value, or of one of them where it takes several."""
    field = field_of(option)
    return field.annotation if option.kind is None and field else option.kind


def choices_of(option: Option) -> tuple[str, ...]:
    """The words that its value may be; () where it is none of a few words."""
    kind = kind_of(option)
    if option.words:
        return option.words()
    return get_args(kind) if get_origin(kind) is Literal else ()


def default_of(option: Option) -> object:
    """The value if the option is not given; None if it depends, or there is none."""
    field = field_of(option)
    return field.default if option.default is None and field else option.default


def default_text(option: Option) -> str:
    """The default as the help tells it, with what holds elsewhere; "" where there is none."""
    default = default_of(option)
    silent = default is None or isinstance(default, bool) or option.gives is not None
    told = [] if silent else [f"{default:g}" if isinstance(default, float) else f"{default}"]
    return "; ".join([*told, *([option.note] if option.note else [])])


def help_of(option: Option) -> str:
    """The effect of an option, or of the value of its flag if this is not true."""
    if option.gives is None or option.gives is True:
        return option.help
    return f"{str(option.gives).lower()}: {option.help}"


def size_of(text: str) -> int:
    """Bytes, from 65536, 64K or 64KiB (both 65,536 bytes). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if not found or not 0 < int(found[1][:20]) < 1 << 40:
        raise ValueError(f"{text!r} is not a size such as 65536, 64K or 64KiB")
    return int(found[1]) * _UNITS[found[2].lower()]


def milliseconds_of(text: str) -> float:
    """Milliseconds, from 150ms or 0.15s. Raises ValueError."""
    return _quantity(text, {"ms": 1.0, "s": 1e3, "us": 1e-3}, "a time such as 150ms or 0.15s")


def millijoules_of(text: str) -> float:
    """Millijoules, from 2mJ, 500uJ or 0.002J. Raises ValueError."""
    return _quantity(text, {"mj": 1.0, "j": 1e3, "uj": 1e-3}, "an energy such as 2mJ or 500uJ")


def _quantity(text: str, units: Mapping[str, float], wanted: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    unit = units.get(found[2].lower()) if found else None
    if not found or unit is None or not 0 < float(found[1]) * unit < 1e9:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(found[1]) * unit


# How a value with a unit is read from text, by its kind.
WITH_UNIT: Mapping[Any, Callable[[str], float]] = {
    Size: size_of,
    Milliseconds: milliseconds_of,
    Millijoules: millijoules_of,
}


def checked(option: Option, value: object) -> object:
    """The value as the compiler takes it, from one that a file gives. Raises ValueError."""
    if isinstance(value, int) and option.fills and kind_of(option) is str:
        value = str(value)  # as the command line has it: --guard 20
    if option.fills and isinstance(value, kind_of(option)):
        option.fills(value)
    if option.several:
        values = value if isinstance(value, list) else [value]
        return tuple(_checked(option, each) for each in values)
    return _checked(option, value)


def _checked(option: Option, value: object) -> object:
    choices, kind = choices_of(option), kind_of(option)
    if choices:
        if value not in choices:
            raise ValueError("give " + " or ".join(", ".join(choices).rsplit(", ", 1)))
        return value
    if isinstance(value, str) and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value):
        raise ValueError("it has a control character; give plain text")
    match value:
        case bool():
            fits = kind is bool
        case int():
            fits = (kind in (int, float) and abs(value) < 1 << 63) or (kind is Size and value > 0)
        case float():
            fits = kind is float and math.isfinite(value)
        case str():
            fits = kind in (str, Path) and bool(value)
            if kind in WITH_UNIT:
                return WITH_UNIT[kind](value)
        case _:
            fits = False
    if not fits:
        raise ValueError(f"give {_WANTED[kind]}")
    return float(value) if kind is float and isinstance(value, int) else value


_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    Path: "a path in quotes",
    Milliseconds: 'a time such as "150ms"',
    Millijoules: 'an energy such as "2mJ"',
    Size: 'a size in bytes, or one such as "64KiB"',
}


def fills_the_plan(name: str) -> bool:
    """Whether an option belongs to the training rule, or to a feature beside it."""
    return bool(OPTIONS[name].section)
