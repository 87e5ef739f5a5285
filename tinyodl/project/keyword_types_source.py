"""The source of `keyword_types.py`, which type checkers read: the options as a TypedDict.

    python -m tinyodl.project.keyword_types_source

writes it anew; a TypedDict has to be literal, so it is made from the declarations and checked in.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from tinyodl.files.whole_files import write_whole
from tinyodl.project.option import Millijoules, Milliseconds, Option, Size
from tinyodl.project.options import KEYWORDS, OPTIONS, choices_of, default_text, help_of, kind_of

_HEAD = '''\
"""The options of `tinyodl.compile`, for type checkers; `keyword_types_source` writes this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """What is compiled, and how it learns. Each has the default of the command line's flag."""
'''


def source() -> str:
    """The text of `keyword_types.py`."""
    lines = [_HEAD]
    for option in (OPTIONS[name] for name in KEYWORDS):
        default = default_text(option)
        told = help_of(option) + (f" [default: {default}]" if default else "")
        lines += [f"    # {line}" for line in textwrap.wrap(told, 94)]
        lines += [*_declared(option), ""]
    return "\n".join(lines[:-1]) + "\n"


def _declared(option: Option) -> list[str]:
    line = f"    {option.name}: {_type(option)}"
    if len(line) <= 100:
        return [line]
    words = [f'        "{word}",' for word in choices_of(option)]
    return [f"    {option.name}: Literal[", *words, "    ]"]


def _type(option: Option) -> str:
    kind = kind_of(option)
    choices = choices_of(option)
    if choices:
        words = ", ".join(f'"{word}"' for word in choices)
        name = f"Literal[{words}]"
    elif option.is_path:
        name = "str | Path" if kind is Path else "str"
    elif kind is Size:
        name = "int"
    elif kind in (Milliseconds, Millijoules):
        name = "float"
    else:
        name = {str: "str", int: "int", float: "float", bool: "bool"}.get(kind, "Sequence[int]")
    return f"Sequence[{name}]" if option.several else name


if __name__ == "__main__":
    write_whole(Path(__file__).with_name("keyword_types.py"), source())
