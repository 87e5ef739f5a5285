"""The nodes of a network in its firmware: where each begins, and how much code it has.

`net.c` says where the code of a node begins with a symbol, `net_node_STEP.NUMBER`, or
`net_node_STEP_PLACE.NUMBER` for a node in the body of another one; NUMBER makes it unique. What
follows `net_node_none.NUMBER` belongs to no node. A place is what is between "net_node_" and ".".
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import capstone

from tinyodl.virtual.image import Function, Image

NO_NODE = "none"
_LABEL = re.compile(r"net_node_(\w+)\.(\d+)")


@dataclass(frozen=True)
class NodeCode:
    """Bytes of code: of each place; of functions that several places call, by name; of the rest.

    A place has the code up to the next one, literals included, and the functions called from there
    alone, directly or not. The rest is other code in the functions with places: calls, and code
    moved to a function's end by the compiler.
    """

    own: Mapping[str, int]
    shared: Mapping[str, int]
    rest: int


def places_of(image: Image) -> dict[int, str]:
    """Places by address: of several at one address all but the last are empty."""
    found = [(int(m[2]), m[1], at) for name, at in image.labels if (m := _LABEL.fullmatch(name))]
    return {address: place for _, place, address in sorted(found)}


def code_of(image: Image) -> NodeCode:
    """How much code each node has."""
    calls = _Calls(image)
    own: Counter[str] = Counter()
    around: dict[Function, int] = {}
    callers: defaultdict[Function, set[str]] = defaultdict(set)
    for place, function, start, end in _ranges(image):
        around.setdefault(function, function.size)
        if place == NO_NODE:
            continue
        around[function] -= end - start
        own[place] += end - start
        for called in calls.reached(start, end):
            callers[called].add(place)
    shared = {}
    for function, those in callers.items():
        if len(those) == 1:
            own[next(iter(those))] += function.size
        else:
            shared[function.name] = function.size
    return NodeCode(own, shared, sum(around.values()))


def _ranges(image: Image) -> Iterator[tuple[str, Function, int, int]]:
    """Places, each with its function, first address and end: the next place, or the function's."""
    places = places_of(image)
    starts = sorted(places)
    for start, following in itertools.zip_longest(starts, starts[1:]):
        function = image.function_at(start)
        if function is not None:
            end = function.address + function.size
            end = end if following is None else min(end, following)
            yield places[start], function, start, end


class _Calls:
    """Which functions code calls, or goes on in."""

    def __init__(self, image: Image) -> None:
        self._image = image
        decoder = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        decoder.skipdata = True
        self._jumps: list[tuple[int, int]] = []  # from, to
        for section in image.code:
            for start, end in section.spans:
                code = section.data[start - section.address : end - section.address]
                for address, _, name, operands in decoder.disasm_lite(code, start):
                    if name.startswith("b") and operands.startswith("#"):
                        self._jumps.append((address, int(operands[1:], 0)))

    def reached(self, start: int, end: int) -> set[Function]:
        """The functions that the code from `start` to `end` gets to, outside of its own."""
        found: set[Function] = set()
        around = self._image.function_at(start)
        waiting = [(start, end)]
        while waiting:
            start, end = waiting.pop()
            targets = {to for at, to in self._jumps if start <= at < end}
            for function in (
                {self._image.function_at(to) for to in targets} - found - {around, None}
            ):
                assert function is not None
                found.add(function)
                waiting.append((function.address, function.address + function.size))
        return found
