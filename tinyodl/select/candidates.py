"""`--update device`: which layers a board may choose among, and memory for what it will choose."""

from __future__ import annotations

from tinyodl.errors import UserError
from tinyodl.frontend import Prepared
from tinyodl.graph import Graph, Node
from tinyodl.learning.candidates import MOST, Candidate, candidates_of
from tinyodl.learning.learners import rule_of
from tinyodl.ops import OPERATORS, layers_of, weights_of
from tinyodl.ops.shared.candidate import POOL
from tinyodl.planner.lowering import Lowered, lower
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets.boards import Board

_LEAST = 8  # elements of the pool, and of the inputs kept: both are arrays in C
_BETWEEN = 16  # bytes that the linker may leave between arrays of bytes
_INPUTS = 1 / 6  # of the memory that is left, unless they need less


def with_candidates(plan: UpdatePlan, graph: Graph, named: str | None) -> UpdatePlan:
    """The plan with candidates among the layers that it leaves frozen.

    `named` says which: None for all that can be, at most the last 32; N for the last N; or names
    with commas between them. Raises UserError where there are none, or one of them cannot be.
    """
    if rule_of(plan).replaces:
        raise UserError(
            "--update device: layers before the last one learn by gradients, and this learner has "
            "none; leave one of the two away"
        )
    if plan.beside:
        raise UserError(
            f"--update device does not go together with {', '.join(plan.beside)} yet; leave one of "
            "the two away"
        )
    able = [node.name for node in layers_of(graph) if _why_not(node, graph, plan) is None]
    if named is not None and not named.strip().isdecimal():
        chosen = [name.strip() for name in named.split(",") if name.strip()]
        for name in chosen:
            _check(name, graph, plan)
    else:
        count = min(MOST, int(named) if named else MOST)
        chosen = able[-count:] if count else []
    if not chosen:
        raise UserError(
            "--update device: there is no layer to choose among. It takes int8 convolutions and "
            "dense layers before the last layer; use --update last, or --precision int8"
        )
    layers = {**plan.layers, **dict.fromkeys(chosen, "candidate")}
    ordered = {node.name: layers[node.name] for node in layers_of(graph) if node.name in layers}
    return plan.model_copy(update={"layers": {**ordered, **layers}})


def check_candidates(plan: UpdatePlan, graph: Graph) -> None:
    """Raises UserError where a plan names a candidate that cannot be one."""
    for name, update in plan.layers.items():
        if update == "candidate":
            _check(name, graph, plan)


def _check(name: str, graph: Graph, plan: UpdatePlan) -> None:
    """Raises UserError unless the layer of that name can be a candidate."""
    layers = {node.name: node for node in layers_of(graph)}
    if name not in layers:
        raise UserError(f"--candidates names {name!r}, which is no layer: {', '.join(layers)}")
    why = _why_not(layers[name], graph, plan)
    if why:
        raise UserError(f"--candidates: layer {name!r} {why}; leave it out")


def _why_not(node: Node, graph: Graph, plan: UpdatePlan) -> str | None:
    """Why a layer can be no candidate; None if it can."""
    if plan.learns(node.name) and plan.layers[node.name] != "candidate":
        return "learns in any case"
    if node.op != "QLinearConv":
        return "is float32, and channels are chosen of int8 convolutions and dense layers"
    if any(len(graph.consumers[name]) > 1 for name in weights_of(node, graph)):
        return "shares its weights with another layer"
    if _reads_the_same(node, graph):
        return "reads the same input as an earlier layer, with as many weights for an output"
    return None


def _reads_the_same(node: Node, graph: Graph) -> bool:
    """Whether an earlier layer reads the same input just as this one does.

    The bound of a step counts their input once; with a choice it would count it twice.
    """
    shape = graph.shape(node.inputs[1])[1:]
    for other in graph.consumers[node.inputs[0]]:
        if other is node:
            return False
        if OPERATORS[other.op].layer and graph.shape(other.inputs[1])[1:] == shape:
            return True
    return False


def with_room(prepared: Prepared, plan: UpdatePlan, board: Board, ram: int | None) -> UpdatePlan:
    """The plan with as much memory for what will be chosen as `ram` bytes leave, or the board.

    A sixth goes to the inputs that a step keeps, the rest to the weights; none gets more than all
    candidates together could use. Raises what `lower` does.
    """
    limit = min(board.ram.size, ram or board.ram.size) - _BETWEEN
    least = {"pool": _LEAST, "pool_inputs": _LEAST}
    lowered = lower(prepared, plan.model_copy(update=least), board)
    room = limit - lowered.ram_bytes
    found = candidates_of(lowered.training)
    for _ in range(3):
        sized = plan.model_copy(update=_split(room, found, lowered))
        over = lower(prepared, sized, board).ram_bytes - limit
        if over <= 0 or room <= 0:
            break
        room -= over
    return sized


def _split(room: int, found: tuple[Candidate, ...], lowered: Lowered) -> dict[str, int]:
    """Elements of the pool and of the inputs in `room` bytes, beside the least of both."""
    pool = lowered.training.tensor(POOL)
    a_weight = _bytes_of_a_weight(lowered)
    all_inputs = sum(each.inputs_kept(each.channels) for each in found) * pool.itemsize
    all_weights = sum(each.channels * each.each for each in found)
    room += _LEAST * (a_weight + pool.itemsize)
    inputs = min(all_inputs, max(int(room * _INPUTS), room - all_weights * a_weight))
    weights = min(all_weights, (room - inputs) // a_weight)
    return {
        "pool": max(_LEAST, weights // 8 * 8),
        "pool_inputs": max(_LEAST, inputs // pool.itemsize // 8 * 8),
    }


def _bytes_of_a_weight(lowered: Lowered) -> int:
    """RAM for one weight of the pool, with all that belongs to it."""
    tensors = lowered.training.tensors
    own = [t for name, t in tensors.items() if name == POOL or name.startswith(f"<{POOL}.")]
    return sum(tensor.itemsize for tensor in own)
