"""ONNX nodes as importers see them, and the table of importers.

An importer takes an `OnnxNode` and the `Scope`, and appends the IR nodes that compute the same. It
raises `Unsupported` for what it cannot express.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyodl.ops.shared.scope import Scope

ImportFunction = Callable[["OnnxNode", "Scope"], None]


class Unsupported(Exception):  # noqa: N818  a finding about one node; it never leaves the frontend
    """This node cannot be imported: the unsupported use, and what is supported ("": nothing)."""

    def __init__(self, what: str, supported: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.supported = supported


class UnknownInput(Exception):  # noqa: N818
    """Nothing can be said about this node: a node before it could not be imported."""


@dataclass(frozen=True)
class OnnxNode:
    """An ONNX node with its unique name and its attributes as Python values.

    If it stands for a node with other inputs, `slots` maps its own inputs to slots of this node.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    opset: int
    slots: tuple[int, ...] = ()

    def input(self, slot: int) -> str:
        """The name in an input slot, "" when it is absent."""
        return self.inputs[slot] if slot < len(self.inputs) else ""

    def slot_in_file(self, slot: int) -> int:
        """The slot of the file's node that an input slot stands for."""
        return self.slots[slot] if self.slots else slot

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attrs.get(name, default)
        if not isinstance(value, int):
            raise Unsupported(f"attribute {name} is {value!r}", "an integer")
        return value

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        value = self.attrs.get(name, default)
        if not isinstance(value, float):
            raise Unsupported(f"attribute {name} is {value!r}", "a number")
        return value

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute with as many integers as the default."""
        values = self.attrs.get(name, default)
        if not isinstance(values, Sequence) or not all(isinstance(v, int) for v in values):
            raise Unsupported(f"attribute {name} is {values!r}", "a list of integers")
        if len(values) != len(default):
            raise Unsupported(f"attribute {name} has {len(values)} values", f"{len(default)}")
        return tuple(values)

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis` of an input with `rank` dimensions, counted from the front."""
        axis = self.integer("axis", default)
        if not -rank <= axis < rank:
            raise Unsupported(f"axis is {axis} for {rank} dimensions", "an axis of its input")
        return axis % rank


@dataclass(frozen=True)
class Importer:
    """How an ONNX operator is imported, and its description in `docs/operators.md`.

    becomes   the IR operators it may become; they have the gradient and the kernel.
    covers    the supported attributes and forms, in words.
    limits    the refused forms, in words; "" if there are none.
    domains   the operator sets that contain it; "" is ONNX's own.
    """

    onnx: str
    function: ImportFunction
    becomes: tuple[str, ...]
    covers: str
    limits: str
    domains: tuple[str, ...] = ("",)


IMPORTERS: dict[str, Importer] = {}


def imports(
    *names: str,
    becomes: tuple[str, ...],
    covers: str = "",
    limits: str = "",
    domains: tuple[str, ...] = ("",),
) -> Callable[[ImportFunction], ImportFunction]:
    """Put an importer into the table, for these ONNX operators."""

    def put(function: ImportFunction) -> ImportFunction:
        for name in names:
            if name in IMPORTERS:
                raise ValueError(f"ONNX operator {name} is imported twice")
            IMPORTERS[name] = Importer(name, function, becomes, covers, limits, domains)
        return function

    return put
