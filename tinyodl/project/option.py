"""`Option`: an option of compilation, declared once for all the places where it is written.

From the one declaration come the flag and its help on the command line, the keyword of
`tinyodl.compile` with its type, the key in `tinyodl.toml`, and the field of the plan that it fills.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class Size(int):
    """Bytes; in text 65536, 64K or 64KiB."""


@dataclass(frozen=True)
class Option:
    """An option. Its type and default are those of the field of the plan that it fills, if any.

    name     the keyword of `tinyodl.compile`, and the key in tinyodl.toml.
    help     what it does; the help on the command line tells the default behind it.
    kind     the type of its value, where it fills no field of that type: str, bool, int, float,
             Path, Size or a Literal.
    words    those that its value may be, where no Literal names them; they are asked for late, as
             modules of learners take a while to load.
    group    the heading that the help has it under; those that most people need are under one of
             their own, in the order of `often`.
    flag     on the command line; `--name` where nothing is said, "" where it is not there.
    gives    the value that a flag stands for which takes none, such as False for `--no-check`.
    default  what holds where nothing is given; `note` follows it, such as "transfer: 64".
    example  a value for `tinyodl init`, where the default is none that people would write.
    several  the value is a list, and the flag may be repeated.
    is_path  whether a text is a path, which tinyodl.toml has relative to itself.
    section  of the plan: "rule", or a feature's; `field` is the one that it fills.
    switch   it turns its section on, and the section's other options need it.
    fills    makes the section's fields of its value, or None where the value turns the section
             off. Raises ValueError for a value of no known form.
    """

    name: str
    help: str
    kind: Any = None
    words: Callable[[], tuple[str, ...]] | None = None
    group: str = ""
    often: int = 0
    flag: str | None = None
    metavar: str = ""
    gives: object = None
    default: object = None
    note: str = ""
    example: object = None
    several: bool = False
    is_path: Callable[[str], bool] | None = None
    section: str = ""
    field: str = ""
    switch: bool = False
    fills: Callable[[Any], Mapping[str, object] | None] | None = None

    @property
    def on_the_line(self) -> str:
        """How it is written on the command line."""
        return f"--{self.name.replace('_', '-')}" if self.flag is None else self.flag
