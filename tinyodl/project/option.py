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


class Milliseconds(float):
    """Milliseconds; in text 150ms or 0.15s."""


class Millijoules(float):
    """Millijoules; in text 2mJ, 500uJ or 0.002J."""


@dataclass(frozen=True)
class Option:
    """An option. If it fills a field of the plan, it has the field's type and default.

    name     the keyword of `tinyodl.compile`, and the key in tinyodl.toml.
    help     its effect; the help on the command line adds the default.
    kind     the type of its value, if it fills no field of this type: str, bool, int, float, Path,
             Size, Milliseconds, Millijoules or a Literal.
    words    the possible values, if no Literal names them; a function, because modules of learners
             take a while to load.
    group    its heading in the help; the options most people need have a heading of their own, in
             the order of `often`.
    flag     its flag on the command line; by default `--name`, "" for none.
    gives    the value of a flag without argument, such as False for `--no-check`.
    default  the value if none is given; `note` follows it, such as "transfer: 64".
    example  a value for `tinyodl init`, if people would not write the default.
    several  the value is a list, and the flag may be repeated.
    is_path  whether a text is a path, which tinyodl.toml has relative to itself.
    section  its section of the plan: "rule", or a feature's; it fills `field` there.
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
