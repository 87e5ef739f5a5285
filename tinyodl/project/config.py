"""`tinyodl.toml`: options of compilation in a file, beside the model or named by `--config`.

    board = "nano33ble"
    learner = "rls"
    start = "day1.npz"

A key is the keyword of `tinyodl.compile`. Paths are relative to the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyodl.errors import UserError
from tinyodl.learning.beside import sections
from tinyodl.project.keywords import nearest
from tinyodl.project.options import OPTIONS, checked

FILE_NAME = "tinyodl.toml"
MOST_BYTES = 64 * 1024


def config_beside(model: Path) -> Path | None:
    """The file of options in the model's folder, if there is one."""
    path = model.parent / FILE_NAME
    return path if path.exists() else None


def read_config(path: Path) -> dict[str, Any]:
    """The options of a file, by keyword, with paths from where tinyodl runs.

    Raises UserError, which names the file and the key at fault.
    """
    text = _text(path)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nesting beyond all measure
        raise UserError(f"{path}: not valid TOML: {error}") from error
    options = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise UserError(f"{path}: there is no option {name!r}; {_meant(name)}")
        try:
            options[name] = _from_here(name, checked(OPTIONS[name], value), path.parent)
        except ValueError as error:
            more = ""
            if isinstance(value, Mapping) and name in sections():
                more = "; sections are for plan.toml"
            raise UserError(f"{path}: {name} = {_short(value)}: {error}{more}") from None
    return options


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file; give a file of options, as `tinyodl init` writes it")
    try:
        with path.open("rb") as file:
            found = file.read(MOST_BYTES + 1)
        if len(found) > MOST_BYTES:
            raise UserError(f"{path}: more than {MOST_BYTES:,} bytes; that is no file of options")
        return found.decode()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{path}: {reason}; `tinyodl init MODEL.onnx` writes one") from error


def _from_here(name: str, value: object, folder: Path) -> object:
    is_path = OPTIONS[name].is_path
    if isinstance(value, str) and is_path and is_path(value):
        return str(folder / value)
    return value


def _meant(name: str) -> str:
    near = nearest(name.replace("-", "_"), OPTIONS)
    return f"did you mean {near}?" if near else "`tinyodl init --schema` lists all of them"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
