"""How often a node's kernels do what takes their time: products, loads, turns of loops, outputs.

These are counts of the loops in `templates/kernels/`; the tiles and strips of the float32 kernels
are those that `tile_f32.h` and `sliding_f32.h` choose. `tinyodl.planner.cycles` knows what each
takes. Kernels whose loops are not counted here have inputs, outputs and MACs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS, Call, Learner, Loop, Struct, calls_of
from tinyodl.ops.shared.body import in_full
from tinyodl.planner.convolution_work import CONVOLUTIONS, Convolution
from tinyodl.planner.tiles import lanes_of

_STATES = ("velocity", "m", "v", "sum", "fraction")  # of a learner


@dataclass(frozen=True)
class Work:
    """What a kernel does in a step: its name with the way it goes, and how often it does what."""

    kernel: str
    counts: Mapping[str, float]


def work_of(node: Node, graph: Graph) -> tuple[Work, ...]:
    """The work of a node's kernels, of all nodes in its body too; () for a view."""
    own, *inside = work_by_place(node, graph)
    return sum(inside, own)


def work_by_place(node: Node, graph: Graph) -> tuple[tuple[Work, ...], ...]:
    """The work of a node itself, then that of each node in its body, as a profile lists them."""
    body = node.attrs.get("body", ())
    if not body:
        calls = (call for call in calls_of(node, graph) if isinstance(call, Call))
        return (tuple(work for call in calls for work in _work(node, graph, call, 0)),)
    full = in_full(node, graph)
    (loop,) = calls_of(node, graph)
    assert isinstance(loop, Loop)
    inside = (
        tuple(_work(inner, full, call, loop.count))
        for inner, call in zip(body, loop.calls, strict=True)
    )
    around = Work(f"turns of {node.op}", {"calls": 1, "turns": loop.count * len(body)})
    return (around,), *inside


def _work(node: Node, graph: Graph, call: Call, turns: int) -> Iterator[Work]:
    """Of one call, or of one that is repeated and does a part of the work in each of the turns."""
    way, counts = _counts(node, graph, call)
    if turns and call.function == "qlinear_conv_weight_gradient_i8":
        way = f"{way}, in turns"  # it meets fewer maps at a time
    counts = {"calls": 1, "turns": turns, **counts}
    counts["channels in turns"] = turns * counts.get("channels", 0)
    kernel = f"{call.function} {way}".replace(" ,", ",").strip()
    yield Work(kernel, {what: number for what, number in counts.items() if number})
    for parameter in (a.parameter for a in call.arguments if isinstance(a, Learner)):
        if states := states_of(node, graph):
            dtype = graph.tensor(parameter).dtype
            size = graph.tensor(parameter).size
            yield Work(f"learner of {dtype} with {states}", {"parameters": size})


def states_of(node: Node, graph: Graph) -> str:
    """What the learner of a node keeps for each parameter: names and number formats."""
    kept = []
    for name in node.inputs:
        state = name[1:-1].rpartition(".")[2] if name.startswith("<") else ""
        if state in _STATES:
            kept.append(f"{state} {graph.tensor(name).dtype}")
    return ", ".join(kept)


def _counts(node: Node, graph: Graph, call: Call) -> tuple[str, Mapping[str, float]]:
    """The way that a kernel goes for these shapes, "" if there is one, and its counts."""
    struct = next((a for a in call.arguments if isinstance(a, Struct)), None)
    if struct and struct.type in ("conv_shape", "qlinear_conv_shape"):
        counts_of = CONVOLUTIONS.get(call.function)
        if counts_of:
            return counts_of(Convolution.of(struct), node, graph)
    if struct and struct.type == "pool_shape":
        return _pool(struct)
    if call.function in _DENSE:
        return "", _DENSE[call.function](*call.arguments[:2])
    sizes = [graph.tensor(name).size for name in node.inputs[:1] if name]
    outputs = sum(graph.tensor(name).size for name in node.outputs[:1] if name)
    macs = OPERATORS[node.op].macs(node, graph)
    return "", {"inputs": sum(sizes), "outputs": outputs, "macs": macs}


def _pool(struct: Struct) -> tuple[str, Mapping[str, float]]:
    """Windows, their rows, and the elements in them; padding included."""
    s: dict[str, Any] = dict(struct.fields)
    windows = s["channels"] * s["out_height"] * s["out_width"]
    rows = windows * s["kernel_height"]
    inputs = s["channels"] * s["in_height"] * s["in_width"]
    way = "along rows" if s["in_height"] == 1 else ""
    elements = rows * s["kernel_width"]
    return way, {"windows": windows, "rows": rows, "elements": elements, "inputs": inputs}


def _gemm(n: int, k: int) -> Mapping[str, float]:
    """n sums of k terms, up to 8 sums side by side."""
    wide = lanes_of(n, 8)
    turns = -(-n // wide)
    return {"products": turns * wide * k, "loops": turns * k, "outputs": n, "turns": turns}


def _gemm_gradient(n: int, k: int) -> Mapping[str, float]:
    """Of n rows of k weights, up to 6 rows side by side."""
    wide = 6 if n % 6 == 0 else 5 if n % 5 == 0 else min(n, 4)
    turns = n // wide + n % wide
    return {"weights": n * k, "loops": turns * k, "turns": turns}


_DENSE = {
    "gemm_f32": _gemm,
    "gemm_input_gradient_f32": lambda n, k: _gemm(k, n),
    "gemm_weight_gradient_f32": _gemm_gradient,
}
