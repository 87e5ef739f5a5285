"""The turns in which layers make the rows of their maps, and the rings of rows between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS
from tinyodl.ops.shared import ByRows
from tinyodl.ops.shared.rows import height


@dataclass(frozen=True)
class Turns:
    """How a run of nodes is done by rows.

    made   how many rows of each output there are before each turn, and after the last one
    rings  how many rows of each output but the last have to be held at most
    """

    made: Mapping[str, tuple[int, ...]]
    rings: Mapping[str, int]


def turns(body: Sequence[Node], graph: Graph) -> Turns:
    """Make the rows of the last output in turn, and every row that this needs as late as possible.

    In one turn the nodes come in their order. Another turn begins where one is needed that stands
    before the last one.
    """
    made = {node.outputs[0]: 0 for node in body}
    rings = dict.fromkeys(made, 1)
    table: dict[str, list[int]] = {name: [0] for name in made}
    position = {node.outputs[0]: index for index, node in enumerate(body)}
    readers = {name: [node for node in body if name in node.inputs] for name in made}
    last = 0

    def make(node: Node, rows: int) -> None:
        """Make the rows of the output of `node` up to the first `rows`."""
        nonlocal last
        name = node.outputs[0]
        while made[name] < rows:
            needed = rows_rule(node).needs(node, graph, made[name] + 1)
            for operand in node.inputs:
                if operand in made:
                    make(body[position[operand]], needed)
            if position[name] < last:
                for other, done in made.items():
                    table[other].append(done)
            last = position[name]
            made[name] += 1
            rings[name] = max(rings[name], made[name] - freed(name))

    def freed(name: str) -> int:
        """The rows, from the top, that nobody will read again."""
        done = (rows_rule(node).frees(node, graph, made[node.outputs[0]]) for node in readers[name])
        return min(done, default=0)

    result = body[-1].outputs[0]
    make(body[-1], height(result, graph))
    for name, done in made.items():
        table[name].append(done)
    del rings[result]
    return Turns({name: tuple(rows) for name, rows in table.items()}, rings)


@dataclass(frozen=True)
class Arrival:
    """How a run works on a sample whose rows arrive one by one.

    needed  how many rows have to be there for each turn, which then comes at once
    ring    how many of them have to be held at most
    """

    needed: tuple[int, ...]
    ring: int


def arrival(body: Sequence[Node], graph: Graph, sample: str, done: Turns) -> Arrival:
    """When the turns of a run come whose nodes alone read the rows of `sample`."""
    readers = [(node, rows_rule(node)) for node in body if sample in node.inputs]
    needed, ring = [], 1
    for turn in range(len(done.made[body[-1].outputs[0]]) - 1):
        read, freed = [], []
        for node, rule in readers:
            before, after = done.made[node.outputs[0]][turn : turn + 2]
            read.append(rule.needs(node, graph, after) if after else 0)
            freed.append(rule.frees(node, graph, before))
        needed.append(max(read))
        ring = max(ring, max(read) - min(freed))
    return Arrival(tuple(needed), ring)


def rows_rule(node: Node) -> ByRows:
    rule = OPERATORS[node.op].by_rows
    if rule is None:
        raise ValueError(f"{node.op} cannot be computed row by row")
    return rule
