"""Operators that can make some rows of a map, as `templates/kernels/rows.h` finds them.

A kernel is called with the number of rows that each buffer holds, then the output rows `first` and
`end`. A map is (1, C, H, W); a tensor of any other rank is one row of one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared.calls import Argument, Call, Struct
from tinyodl.ops.shared.operator import (
    ByRows,
)

# (node, graph, rows that rings hold, first, end) -> the call, as in `ByRows`.
RowsCall = Callable[[Node, Graph, Mapping[str, int], Argument, Argument], Call]


def height(name: str, graph: Graph) -> int:
    """The number of rows of a tensor."""
    shape = graph.shape(name)
    return shape[2] if len(shape) == 4 else 1


def held_rows(names: tuple[str, ...], graph: Graph, held: Mapping[str, int]) -> tuple[int, ...]:
    """How many rows the buffer of each of these tensors holds."""
    return tuple(held.get(name, height(name, graph)) for name in names)


def map_struct(name: str, graph: Graph) -> Struct:
    """The shape of a tensor as a map."""
    tensor = graph.tensor(name)
    if len(tensor.shape) == 4:
        batch, channels, rows, width = tensor.shape
        sizes = (batch * channels, rows, width)
    else:
        sizes = (1, 1, tensor.size)
    return Struct("map_shape", tuple(zip(("channels", "height", "width"), sizes, strict=True)))


def all_rows(call: RowsCall) -> Callable[[Node, Graph], Call]:
    """The call rule that makes the whole output at once."""

    def whole(node: Node, graph: Graph) -> Call:
        return call(node, graph, {}, 0, height(node.outputs[0], graph))

    return whole


def row_for_row(call: RowsCall) -> ByRows:
    """The rule of operators that make each output row from the same row of their inputs."""
    return ByRows(needs=_same_rows, frees=_same_rows, call=call)


def _same_rows(node: Node, graph: Graph, n: int) -> int:
    return n
