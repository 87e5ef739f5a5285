"""The door to the planner: (prepared model, plan, board) -> memory and work on this board.

    prepared = prepare(Path("model.onnx"), Changes())
    plan = UpdatePlan(layers=choose(prepared.graph, "last"))
    lowered = lower(prepared, plan, load_board("nano33ble"))
    lowered.ram_bytes, lowered.macs[Phase.BACKWARD]
    lowered.cycles.step, lowered.meter.ms(lowered.cycles.forward)

Nothing is rendered or written, so a search may lower one plan after the other. `lower_bound` gives
a lower bound of the result in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tinyodl.frontend import Prepared
from tinyodl.graph import Graph, Phase
from tinyodl.learning.beside.adding import with_features
from tinyodl.learning.bound import bounded
from tinyodl.learning.candidates import guarded
from tinyodl.learning.losses import with_fitting_loss
from tinyodl.learning.outliers import gated
from tinyodl.learning.tensors import LOSS
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import ArenaPlan, plan_arena
from tinyodl.memory.by_channels import by_channels
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.memory.least import least_arena
from tinyodl.memory.rows import by_rows
from tinyodl.ops import OPERATORS, layers_of
from tinyodl.planner.code_size import MARGIN
from tinyodl.planner.cycles import Cycles, coefficients, modelled_cycles
from tinyodl.planner.footprint import flash_parts, ram_parts
from tinyodl.project.plan import UpdatePlan
from tinyodl.select.shares import with_channels
from tinyodl.session.energy import Meter, estimate_meter, no_cycles
from tinyodl.targets.boards import Board


@dataclass(frozen=True)
class Lowered:
    """A model under a plan, on a board.

    plan      as given, with a loss that fits and with channels instead of shares
    graph     the network after layers have absorbed the frozen nodes behind them
    training  all nodes of a step, in the order in which they run
    arena     where the tensors of a step lie
    ram       bytes of RAM by use, the board's stack and buffers included
    flash     bytes of flash by use; the bytes of code are an estimate
    macs      multiply-accumulates of a step
    """

    plan: UpdatePlan
    board: Board
    graph: Graph
    training: Graph
    arena: ArenaPlan
    ram: Mapping[str, int]
    flash: Mapping[str, int]
    macs: Mapping[Phase, int]

    @cached_property
    def cycles(self) -> Cycles | None:
        """Modelled cycles of a step on this board: an estimate, see `tinyodl.planner.cycles`.

        None where `no_cycles` says why.
        """
        return None if isinstance(self._modelled, str) else self._modelled

    @property
    def no_cycles(self) -> str:
        """Why there are no cycles: a sentence's end; "" if there are."""
        return self._modelled if isinstance(self._modelled, str) else ""

    @property
    def meter(self) -> Meter:
        """Turns `cycles` into milliseconds and, if the board's currents are known, millijoules."""
        return estimate_meter(self.board)

    @cached_property
    def _modelled(self) -> Cycles | str:
        table = coefficients(self.board.target.cycles)
        if not table:
            return no_cycles(self.board)
        found = modelled_cycles(self.training, table)
        if isinstance(found, Cycles):
            return found
        return f"tinyodl has no estimate of the cycles of {', '.join(found)}"

    @property
    def ram_bytes(self) -> int:
        """All RAM that is taken."""
        return sum(self.ram.values())

    @property
    def flash_bytes(self) -> int:
        """All flash that is taken, without the slots of the weight store."""
        return sum(self.flash.values())

    @property
    def flash_most(self) -> int:
        """`flash_bytes` with the margin of its estimate: linked firmware stays within."""
        return self.flash_bytes + round(MARGIN * self.flash["code"])


def lower(prepared: Prepared, plan: UpdatePlan, board: Board) -> Lowered:
    """The costs of `prepared` on `board` when it learns under `plan`.

    A model that does not fit is no error here. Raises UserError where the plan does not suit the
    network, ModelError where an operator has no gradient, DataError where samples that the model
    was prepared with cannot be read.
    """
    plan = with_fitting_loss(plan, prepared.graph)
    graph = prepared.under(plan)
    plan = with_channels(plan, graph)
    training = _in_parts(sums_in_place(_training_graph(prepared, plan, graph)))
    training = gated(training, plan, prepared.samples)
    arena = plan_arena(training)
    return Lowered(
        plan=plan,
        board=board,
        graph=graph,
        training=training,
        arena=arena,
        ram=ram_parts(training, arena.nbytes, board, plan),
        flash=flash_parts(training, board, plan),
        macs=_macs(training),
    )


@dataclass(frozen=True)
class Bound:
    """A lower bound of a plan's costs.

    ram   bytes of RAM by use: none is more than in `Lowered.ram`
    macs  multiply-accumulates of a step: exactly the sum of `Lowered.macs` over all phases
    """

    ram: Mapping[str, int]
    macs: int

    @property
    def ram_bytes(self) -> int:
        """All RAM that is taken at least."""
        return sum(self.ram.values())


def lower_bound(prepared: Prepared, plan: UpdatePlan, board: Board) -> Bound:
    """A lower bound of the costs found by `lower`: a plan too large here needs no exact answer.

    Of the RAM only two parts are bounds. `least_arena` stands for the arena, and has the proof. The
    gate of outliers may take 4 bytes more where the sample is learned by rows. All other parts and
    the multiply-accumulates are exact, since working by rows or by channels adds no parameter and
    no state, and computes nothing twice. The phases are not told apart: an update that runs by
    channels counts as backward. Raises what `lower` does, except DataError.
    """
    plan = with_fitting_loss(plan, prepared.graph)
    graph = prepared.under(plan)
    plan = with_channels(plan, graph)
    training = sums_in_place(_training_graph(prepared, plan, graph))
    least = least_arena(training)
    training = gated(training, plan)
    return Bound(ram_parts(training, least, board, plan), sum(_macs(training).values()))


def _training_graph(prepared: Prepared, plan: UpdatePlan, graph: Graph) -> Graph:
    """Forward, loss, backward and update, with everything that is computed beside learning."""
    layers = _of_layers(plan, prepared.graph, graph)
    training = differentiate(graph, layers, prepared.begun, prepared.errors)
    return with_features(guarded(bounded(training, plan, LOSS)), plan, prepared.shown)


def _in_parts(training: Graph) -> Graph:
    """The graph without whole large maps: frozen maps by rows, wide maps' gradients by channels.

    The first try takes everything that helps the backward pass: it shows how much the forward pass
    needs in any case. The second takes only as much as stays within this.
    """
    least = by_rows(by_channels(training))
    return by_rows(by_channels(training, within=plan_arena(least).nbytes))


def _of_layers(plan: UpdatePlan, every: Graph, graph: Graph) -> UpdatePlan:
    """The plan without the layers that others have absorbed."""
    absorbed = {n.name for n in layers_of(every)} - {n.name for n in layers_of(graph)}
    layers = {name: updates for name, updates in plan.layers.items() if name not in absorbed}
    return plan.model_copy(update={"layers": layers})


def _macs(training: Graph) -> Mapping[Phase, int]:
    macs = dict.fromkeys(Phase, 0)
    for node in training.nodes:
        macs[node.phase] += OPERATORS[node.op].macs(node, training)
    return macs
