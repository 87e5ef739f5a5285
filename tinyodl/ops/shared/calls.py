"""Calls of generated C, and what they are called with."""

from __future__ import annotations

from dataclasses import dataclass

from tinyodl.graph import Node


@dataclass(frozen=True)
class Ref:
    """A tensor as an argument of a kernel: a pointer to its first element, NULL for "".

    `learning` has a bit for each candidate of which one must learn, else the pointer is NULL; 0: it
    never is.
    """

    tensor: str
    learning: int = 0


@dataclass(frozen=True)
class Learner:
    """A parameter as an argument of a gradient kernel: where its gradient goes."""

    parameter: str


@dataclass(frozen=True)
class Struct:
    """A C struct of compile-time constants as an argument: a pointer to it.

    A field is a number, or a tuple of numbers for an array.
    """

    type: str
    fields: tuple[tuple[str, int | float | tuple[int, ...] | tuple[float, ...]], ...]


@dataclass(frozen=True)
class Symbol:
    """A variable of the generated network: `label` or `pending`."""

    name: str


@dataclass(frozen=True)
class Element:
    """One element of a constant tensor of integers, at an index that is C text."""

    tensor: str
    index: str


Argument = Ref | Learner | Struct | Symbol | Element | int | float


@dataclass(frozen=True)
class Call:
    """One call of generated C: a kernel and what it is called with."""

    function: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Loop:
    """Calls that generated C repeats, for `index` from 0 to `count` - 1.

    `nodes` has the node of each call: the body of the loop's own node.
    """

    index: str
    count: int
    calls: tuple[Call, ...]
    nodes: tuple[Node, ...]
