"""Which kernel files a network is made with, known before any is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tinyodl.graph import Graph
from tinyodl.learning.beside import FOLDER, NAMES
from tinyodl.ops import kernels_of
from tinyodl.resources import TEMPLATES

KERNELS = TEMPLATES / "kernels"
_INCLUDE = re.compile(r'^#include "(\w+\.h)"', re.MULTILINE)


def kernel_files(graph: Graph) -> frozenset[str]:
    """The kernel files called by the nodes of a training graph, and the files these include."""
    return with_included(name for node in graph.nodes for name in kernels_of(node))


def with_included(names: Iterable[str]) -> frozenset[str]:
    """These kernel files and all that they include."""
    found: set[str] = set()
    new = set(names)
    while new:
        found |= new
        new = {each for name in new for each in _included(name)} - found
    return frozenset(found)


def kernel_file(name: str) -> Path:
    """Where a kernel lies, or the template of it: with all others, or in its feature's folder."""
    folders = (KERNELS, *(FOLDER / feature / "c" for feature in NAMES))
    places = (folder / file for folder in folders for file in (f"{name}.j2", name))
    return next(place for place in places if place.exists())


@cache
def _included(name: str) -> frozenset[str]:
    """The kernel files that one includes; where it is a template, whatever it is rendered with."""
    return frozenset(_INCLUDE.findall(kernel_file(name).read_text("utf-8")))
