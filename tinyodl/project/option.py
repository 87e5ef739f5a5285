"""`Option`: an option of compilation, declared once for all the places where it is written.

From the one declaration come the flag and its help on the command line, the keyword of
`tinyodl.compile` with its type, the key in `tinyodl.toml`, and the field of the plan that it fills.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option. Its type and default are those of the field of the plan that it fills, if any.

    `kind` is the type of its value, where it fills no field of that type. `gives` is the value
    that a flag stands for which takes none, such as False for `--no-check`. `default` is told in
    the help where there is one; `note` follows it, such as "transfer: 64". An option that is a
    `switch` turns its section on, and the section's other options need it; `fills` makes the
    section's fields of its value, or None where the value turns the section off, and raises
    ValueError for a value of no known form.
    """

    name: str  # the keyword, and the key in tinyodl.toml
    help: str
    kind: Any = None
    group: str = ""  # the heading that the help has it under
    flag: str = ""  # "--name", where nothing is said
    metavar: str = ""
    gives: object = None
    default: object = None
    note: str = ""
    several: bool = False  # the flag may be repeated, and the value is a list
    section: str = ""  # of the plan: "rule", or a feature's
    field: str = ""  # of that section
    switch: bool = False
    fills: Callable[[Any], Mapping[str, object] | None] | None = None

    @property
    def on_the_line(self) -> str:
        """How it is written on the command line."""
        return self.flag or f"--{self.name.replace('_', '-')}"
