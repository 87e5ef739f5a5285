"""What a board may do beside learning: one folder, and one line of `NAMES`, for each feature.

Without its folder and its line a feature is gone: its section of the plan, its options, its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from tinyodl.learning.beside.feature import Section

NAMES = (
    "cache",
    "query",
    "drift",
    "guard",
    "counts",
)

SECTIONS: Mapping[str, type[Section]] = {
    name: import_module(f"{__name__}.{name}.section").SECTION for name in NAMES
}
