"""The guard's held-back samples, and its return to the best parameters: nodes, memory, words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.beside import features
from tinyodl.learning.beside.guard import operators  # noqa: F401 (into the table)
from tinyodl.learning.beside.guard.section import Guard
from tinyodl.learning.beside.record import Feature, Region, Setting, Step, node
from tinyodl.learning.frozen_part import changing_nodes, last_layer, last_node, place_before
from tinyodl.learning.outliers import REACH
from tinyodl.learning.state_names import LABELS
from tinyodl.learning.tensors import SUM, state_name
from tinyodl.ops import OPERATORS
from tinyodl.ops.shared.step import FLASH_HEADER
from tinyodl.project.plan import UpdatePlan

HELD = "<guard.held>"
MEMORY, MEMORY_SCALES = "<guard.features>", "<guard.scales>"
HELD_COUNTS, SINCE, BEST = "<guard.counts>", "<guard.since>", "<guard.best>"

GUARD_SLOTS = 4  # samples of each class that are held back


def _settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    guard = Guard.on(plan)
    return (
        Setting("guard", 1.0, 0.0, 1.0),
        Setting("guard_every", guard.every, 2.0, 65536.0),
        Setting("guard_margin", guard.margin, 0.0, 1.0),
    )


def _add(step: Step) -> None:
    graph = step.graph
    layer = _alone_in_change(graph, step.ahead)
    if layer:
        x = layer.inputs[0]
    elif Guard.on(step.plan).memory == "flash":
        raise UserError(
            "--guard-memory flash is for one layer that learns, the last: the guard tests "
            "several by exchanging them with their copy; keep it in RAM"
        )
    else:
        x = _add_retest(step)
    step.add_tensors(*_tensors(step, graph.tensor(x)))
    reads = (x, MEMORY, HELD_COUNTS, SINCE, _scales_of(graph, x))
    step.note.append(node("GuardHold", reads, (HELD,), Phase.BACKWARD))


def guarded(graph: Graph) -> list[Tensor]:
    """The parameters and optimiser states of which the guard keeps a second copy.

    If features are recalled from a cache, no sum of gradients outlives its step.
    """
    learned = [t for t in graph.tensors.values() if t.storage is Storage.PARAMETER]
    stays = {LABELS, REACH}.union(*(feature.keeps for feature in features()))
    if any(OPERATORS[each.op].part == "recall" for each in graph.nodes):
        stays |= {state_name(tensor.name, SUM) for tensor in learned}
    state = [t for t in graph.tensors.values() if t.storage is Storage.STATE]
    return learned + [t for t in state if t.name not in stays]


_CHANGING = frozenset({Storage.PARAMETER, Storage.STATE})


def _alone_in_change(graph: Graph, forward: tuple[Node, ...]) -> Node | None:
    """The last dense layer, where nothing else changes: a copy can be tested by itself."""
    changing = [n for n in changing_nodes(graph, forward, _CHANGING) if not _recalls(n)]
    if [node.op for node in changing] != ["Gemm"]:
        return None
    return changing[0] if changing[0] == last_node(graph) else None


def _add_retest(step: Step) -> str:
    """Add the node that puts held-back features in place of the sample's; the tensor it writes.

    Raises UserError if the part that changes depends on more than one tensor.
    """
    graph = step.graph
    forward = tuple(each for each in step.ahead if not _recalls(each))
    found = place_before(graph, forward, _CHANGING)
    if found is None:
        changing = ", ".join(f"'{n.name}'" for n in changing_nodes(graph, forward, _CHANGING))
        raise UserError(
            "the guard stores the input of the first layer that learns, and everything after it "
            f"must depend on that input only; here learn {changing}. Let only the last layers "
            "learn, for example a head"
        )
    x, behind = found
    retest = node("Retest", (x, MEMORY, _scales_of(graph, x)), (), Phase.FORWARD)
    recall = [each for each in step.ahead if _recalls(each)]
    step.ahead = (*(each for each in forward if each not in behind), retest, *recall, *behind)
    return x


def _recalls(node: Node) -> bool:
    return OPERATORS[node.op].part == "recall"


def _scales_of(graph: Graph, x: str) -> str:
    """The tensor with the scales of held-back features; "" if the features are int8."""
    return "" if graph.tensor(x).dtype == "int8" else MEMORY_SCALES


def _tensors(step: Step, x: Tensor) -> Iterator[Tensor]:
    places = (step.classes, GUARD_SLOTS)
    yield Tensor(HELD, (1,), dtype="int32")
    yield Tensor(MEMORY, (*places, x.size), Storage.STATE, "int8")
    if x.dtype != "int8":
        yield Tensor(MEMORY_SCALES, places, Storage.STATE)
    yield Tensor(HELD_COUNTS, places[:1], Storage.STATE, "int32")
    yield Tensor(SINCE, (2,), Storage.STATE, "int32")
    if Guard.on(step.plan).memory == "ram":
        yield Tensor(BEST, (_places(step.result())[1],), Storage.STATE)


def _places(graph: Graph) -> tuple[dict[str, int], int]:
    """Where each guarded tensor begins in the copy, in words, and the words of the whole copy."""
    at: dict[str, int] = {}
    words = 0
    for tensor in guarded(graph):
        at[tensor.name] = words
        words += -(-tensor.nbytes // 4)
    return at, words


def flash_bytes(graph: Graph) -> int:
    """Bytes of flash for the guard's best parameters; 0 if it keeps them in RAM."""
    if MEMORY not in graph.tensors or BEST in graph.tensors:
        return 0
    return FLASH_HEADER + 4 * _places(graph)[1]


def _context(graph: Graph, plan: UpdatePlan, c: Mapping[str, str]) -> dict[str, Any]:
    """The values that the templates of the guard's functions in net.c need."""
    classes, slots, size = graph.shape(MEMORY)
    at, words = _places(graph)
    flash = flash_bytes(graph)

    def place(name: str, where: str) -> str:
        """A weight as it is now, as it was kept, or as it was compiled."""
        if not name:
            return "NULL"
        if where == "now" or name not in at:
            return c[name]
        if where == "kept":
            return f"kept_at({at[name]})" if flash else f"{c[BEST]} + {at[name]}"
        data = graph.tensor(name).data
        return f"{c[name]}_initial" if data is not None and data.any() else "NULL"

    several = any(each.op == "Retest" for each in graph.nodes)
    weights = () if several else (*last_layer(graph).inputs[1:], "")[:2]
    return {
        "several": several,
        "classes": classes,
        "slots": slots,
        "size": size,
        "features": c[MEMORY],
        "scales": c.get(MEMORY_SCALES),
        "counts": c[HELD_COUNTS],
        "since": c[SINCE],
        "best": c.get(BEST),
        "flash": flash,
        "bytes": 4 * words,
        "held": c[HELD],
        "copied": at,
        "now": [place(name, "now") for name in weights],
        "kept": [place(name, "kept") for name in weights],
        "compiled": [place(name, "compiled") for name in weights],
    }


def _facts(graph: Graph) -> dict[str, int]:
    """The test of all held-back samples, with at most three sets of parameters."""
    at = [i for i, each in enumerate(graph.nodes) if each.op == "Retest"]
    if not at:
        return {}
    behind = [each for each in graph.nodes[at[0] :] if each.phase is Phase.FORWARD]
    macs = sum(OPERATORS[each.op].macs(each, graph) for each in behind)
    classes, slots, _ = graph.shape(MEMORY)
    return {"step_macs": 3 * classes * slots * macs}


FEATURE = Feature(
    "guard",
    add=_add,
    after=("cache", "prototypes"),
    settings=_settings,
    keeps=frozenset({MEMORY, MEMORY_SCALES, HELD_COUNTS, SINCE, BEST}),
    flash=flash_bytes,
    region=Region("FLASH_BEST", "NET_BEST_BYTES", "the best parameters"),
    one_way="the best parameters are those of now",
    context=_context,
    facts=_facts,
)
