"""Texts made from the options: a `tinyodl.toml` with comments, and its JSON schema."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from tinyodl.project.option import Millijoules, Milliseconds, Option, Size
from tinyodl.project.options import (
    OFTEN,
    OPTIONS,
    choices_of,
    default_of,
    default_text,
    field_of,
    help_of,
    kind_of,
)
from tinyodl.text import toml_string

_HEAD = """\
Options of `tinyodl compile` and `tinyodl plan` for the models in this folder. Take the # away
before what you want. The command line wins over this file; `--without NAME` leaves out what it says
of an option. Paths are relative to this file."""


def config_template() -> str:
    """A file of options in which every option is there, with its help, and commented out."""
    often = sorted((option for option in OPTIONS.values() if option.often), key=lambda o: o.often)
    groups: dict[str, list[Option]] = {OFTEN: often}
    for option in OPTIONS.values():
        if not option.often:
            groups.setdefault(option.group or "Labels", []).append(option)
    lines = _comment(_HEAD)
    for name, options in groups.items():
        lines += ["", "", f"# ---- {name} ----"]
        for option in options:
            default = default_text(option)
            told = option.help + (f" [default: {default}]" if default else "")
            lines += ["", *_comment(told), f"#{option.name} = {toml_value(_example(option))}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 98)]


def _example(option: Option) -> object:
    """A value to edit: what its flag stands for, an example, or the default."""
    for value in (option.gives, option.example, default_of(option)):
        if value is not None:
            return value
    raise ValueError(f"option {option.name} has no default: give it an example")


def toml_value(value: object) -> str:
    """A value as a TOML file has it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return toml_string(value)
        case tuple() | list():
            return f"[{', '.join(toml_value(each) for each in value)}]"
        case _:
            return repr(value)


def config_schema() -> dict[str, Any]:
    """The JSON schema of a file of options, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tinyodl.toml",
        "description": "Options of tinyodl compile and tinyodl plan.",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(option) for name, option in OPTIONS.items()},
    }


def _schema(option: Option) -> dict[str, Any]:
    kind, field, words = kind_of(option), field_of(option), choices_of(option)
    made: dict[str, Any]
    if words:
        made = {"type": "string", "enum": list(words)}
    elif kind is Path:
        made = {"type": "string", "minLength": 1}
    elif kind in (Milliseconds, Millijoules):
        made = {"type": "string"}
    elif kind is Size:
        size = {"type": "string", "pattern": r"^\s*\d+\s*([BKMbkm]|[KMkm][Ii][Bb])?\s*$"}
        made = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, size]}
    else:
        bounds = field.metadata if field and option.kind is None else []
        made = TypeAdapter(Annotated[kind, *bounds] if bounds else kind).json_schema()
    if option.several:
        made = {"anyOf": [made, {"type": "array", "items": made}]}
    default = default_of(option)
    if default is not None and not option.several:
        made["default"] = default
    return {"description": help_of(option), **made}
