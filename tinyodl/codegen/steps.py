"""Nodes of a training graph as the C text of the functions that call them, and slots of net.c."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from tinyodl.codegen.literals import dimensions, grouped
from tinyodl.codegen.names import Names
from tinyodl.graph import Graph, Node, Phase
from tinyodl.learning.beside import FOLDER
from tinyodl.learning.beside.record import Feature
from tinyodl.learning.candidates import guard_of
from tinyodl.learning.tensors import LOSS, SAMPLE, UPDATES
from tinyodl.ops import OPERATORS, Call, Loop, calls_of
from tinyodl.ops.rows import arriving
from tinyodl.text import comment


def sections_of(graph: Graph, names: Names, summed: bool) -> dict[str, list[dict[str, Any]]]:
    """The calls of forward, loss, backward and of the update at the end of a batch."""
    found: dict[str, list[dict[str, Any]]] = {
        "forward": [],
        "remember": [],
        "recall": [],
        "retest": [],
        "suffix": [],
        "look": [],
        "decide": [],
        "loss_calls": [],
        "count": [],
        "note": [],
        "first": [],
        "backward": [],
        "apply": [],
    }
    before_loss = True
    ahead = "forward"  # where features are kept: the layers before them, then those behind
    previous = Phase.BACKWARD
    arrives = arriving(graph)
    for step, node in enumerate(graph.nodes):
        calls = calls_of(node, graph) if node is not arrives else ()
        if node.outputs == (LOSS,):
            before_loss = False
        if not calls:
            continue
        part = OPERATORS[node.op].part
        at_end = node.op in UPDATES.values() or (summed and node.op == "AdamTick")
        if node.outputs in ((LOSS,), (SAMPLE,)):
            section = "loss_calls"
        elif part:
            section = part
            ahead = "suffix" if section in ("recall", "retest") else ahead
        elif before_loss:
            section = ahead
        else:
            section = "apply" if at_end else "backward"
        mark = section == "backward" and node.phase is not previous
        if section == "backward":
            previous = node.phase
        found[section].append(
            {
                "comment": _comment(step, node, graph),
                "step": str(step),
                "parts": [part for call in calls for part in _parts(call, names, step)],
                "texts": [line for call in calls for line in _lines(call, names, node, step)],
                "mark": f"NET_{node.phase.name}" if mark else "",
                "guard": guard_of(node),
                "learning": section == ahead and before_loss and node.phase is Phase.UPDATE,
            }
        )
    return found


def _lines(call: Call | Loop, names: Names, node: Node, step: int) -> list[str]:
    if isinstance(call, Call):
        return [_text(call, node, names)]
    i = call.index
    lines = [f"for (int32_t {i} = 0; {i} < {call.count}; {i}++) {{"]
    for part in _parts(call, names, step):
        lines += [f"    NODE({part['step']});", f"    {part['name']}({i});"]
    return [*lines, f"    NODE({step});", "}"]


def _parts(call: Call | Loop, names: Names, step: int) -> list[dict[str, str]]:
    """The functions that a loop calls in turn, one for each node.

    Inlined side by side into the loop, their kernels would compete for registers.
    """
    if isinstance(call, Call):
        return []
    return [
        {
            "comment": f"{node.op} {comment(node.name.removesuffix(f'.{node.op}'))}",
            "step": f"{step}_{place}",
            "name": names.part(node),
            "index": call.index,
            "text": _text(inner, node, names),
            "guard": guard_of(node),
        }
        for place, (inner, node) in enumerate(zip(call.calls, call.nodes, strict=True))
    ]


def _text(call: Call, node: Node, names: Names) -> str:
    arguments = ", ".join(names.argument(a, node) for a in call.arguments)
    return f"{call.function}({arguments});"


def _comment(step: int, node: Node, graph: Graph) -> str:
    shapes = [dimensions(graph.shape(name)) for name in node.outputs if name]
    macs = OPERATORS[node.op].macs(node, graph)
    cost = f", {grouped(macs)} MACs" if macs else ""
    made = f" -> {', '.join(shapes)}" if shapes else ""
    reads = " ".join(dimensions(graph.shape(name)) for name in node.inputs[:2] if name)
    layer = comment(node.name.removesuffix(f".{node.op}"))
    return f"{step}: {node.op} {layer}: {reads}{made}{cost}"


def calls_at(time: Literal["recover", "go_back"], graph: Graph, names: Names) -> list[str]:
    """The calls that find the network's data in flash again."""
    rules = [(getattr(OPERATORS[node.op], time), node) for node in graph.nodes]
    calls = [(rule(node, graph), node) for rule, node in rules if rule]
    return [_text(call, node, names) for call, node in calls if call]


def arrival_of(graph: Graph, names: Names) -> dict[str, Any] | None:
    """The handling of the sample's rows as they arrive; None if the sample is kept whole."""
    node = arriving(graph)
    if node is None:
        return None
    [loop] = calls_of(node, graph)
    assert isinstance(loop, Loop)
    sample = graph.tensor(node.attrs["sample"])
    _, channels, held, width = sample.shape
    return {
        "comment": _comment(0, node, graph),
        "step": "0",
        "parts": _parts(loop, names, 0),
        "turns": loop.count,
        "needed": names.tensor[node.attrs["needed"]],
        "sample": names.tensor[sample.name],
        "channels": channels,
        "held": held,
        "line_bytes": width * sample.itemsize,
    }


# Places of net.c.j2, net.h.j2 and the templates in them that features may fill.
SLOTS = (
    *("state", "reset", "recall", "decide", "tests", "learn_again", "noted", "learn_from", "ask"),
    *("replay", "replayed", "header_memory", "header"),
)


def slots_of(features: Iterable[Feature]) -> dict[str, list[str]]:
    """The templates that fill each slot."""
    found: dict[str, list[str]] = {slot: [] for slot in SLOTS}
    for feature in features:
        for slot in SLOTS:
            template = f"{feature.name}/c/{slot}.j2"
            if (FOLDER / template).exists():
                found[slot].append(template)
    return found
