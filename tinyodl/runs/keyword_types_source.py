"""The source of `keyword_types.py`, which type checkers read: the options of a run as a TypedDict.

    python -m tinyodl.runs.keyword_types_source

writes it anew; a TypedDict has to be literal, so it is made from `RunOptions` and checked in.
"""

from __future__ import annotations

import textwrap
from dataclasses import fields
from pathlib import Path

from tinyodl.files.whole_files import write_whole
from tinyodl.project.options import default_text
from tinyodl.runs.options import RUN_OPTIONS, RunOptions

_HEAD = '''\
"""The options of `Session.train`, for type checkers; `keyword_types_source` writes this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from tinyodl.runs.options import Keep, Order
    from tinyodl.runs.record import Radio


class RunKeywords(TypedDict, total=False):
    """How a run learns. Each has the default of the command line's flag."""
'''


def source() -> str:
    """The text of `keyword_types.py`."""
    lines = [_HEAD]
    for one in fields(RunOptions):
        option = RUN_OPTIONS[one.name]
        default = default_text(option)
        told = option.help + (f" [default: {default}]" if default else "")
        lines += [f"    # {line}" for line in textwrap.wrap(told, 94)]
        lines += [f"    {one.name}: {one.type}", ""]
    return "\n".join(lines[:-1]) + "\n"


if __name__ == "__main__":
    write_whole(Path(__file__).with_name("keyword_types.py"), source())
