"""What a plan may take, and what plans take: the costs that a search asks for again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinyodl.errors import UserError
from tinyodl.frontend import Prepared
from tinyodl.planner.lowering import Lowered, lower, lower_bound
from tinyodl.project.layer_update import LayerUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.session.energy import estimate_meter
from tinyodl.targets.boards import Board

CYCLES_PER_MAC = 4.0  # of a step whose kernels the planner has no cycles of
EXACT_MACS = 5_000_000  # of a step: below it what may fit is planned exactly, in milliseconds


@dataclass(frozen=True)
class Budget:
    """At most this much; None: as much as the board has, of time and energy any.

    ram     bytes of linked RAM, the stack included
    flash   bytes of flash
    time    milliseconds of one training step, its forward pass included
    energy  millijoules of one training step
    """

    ram: int | None = None
    flash: int | None = None
    time: float | None = None
    energy: float | None = None


@dataclass(frozen=True)
class Cost:
    """What a plan takes; see `Budget`. None: the board has no model of it."""

    ram: int
    macs: int
    time: float | None
    energy: float | None


def check_budget(budget: Budget, board: Board) -> None:
    """Raises UserError for a budget of time or energy on a board without a model of them."""
    found = cost_of(0, 1, 1.0, board)
    for name in ("time", "energy"):
        if getattr(budget, name) is not None and getattr(found, name) is None:
            raise UserError(
                f"--{name} needs a model of the {'cycles' if name == 'time' else 'currents'} of "
                f"board {board.name}, which tinyodl does not have; leave --{name} away"
            )


def cost_of(ram: int, macs: int, cycles: float, board: Board) -> Cost:
    """The cost of so many bytes, multiply-accumulates and modelled cycles."""
    if not board.target.cycles:
        return Cost(ram, macs, None, None)
    found = estimate_meter(board)
    return Cost(ram, macs, found.ms(cycles), found.mj(cycles))


def fits(cost: Cost, budget: Budget) -> bool:
    """Whether a cost is within a budget; of flash it says nothing."""
    pairs = (
        (cost.ram, budget.ram),
        (cost.time, budget.time),
        (cost.energy, budget.energy),
    )
    return all(most is None or (taken is not None and taken <= most) for taken, most in pairs)


@dataclass
class Costs:
    """Costs of plans of one network on one board, each worked out once.

    `plan` has the rule; `base` are layers that learn under every plan.
    """

    prepared: Prepared
    plan: UpdatePlan
    board: Board
    budget: Budget
    base: Mapping[str, LayerUpdate]
    rate: float = CYCLES_PER_MAC  # of a plan that is only bounded
    asked: int = 0  # plans that were worked out
    _known: dict[tuple[tuple[str, str], ...], Cost] = field(default_factory=dict)

    def plan_with(self, updates: Mapping[str, LayerUpdate]) -> UpdatePlan:
        """The plan for these layers beside the base."""
        return self.plan.model_copy(update={"layers": {**updates, **self.base}})

    def of(self, updates: Mapping[str, LayerUpdate]) -> Cost:
        """The cost; of a large network, or of a plan that is too large, a lower bound."""
        key = tuple((name, repr(update)) for name, update in updates.items())
        if key not in self._known:
            self.asked += 1
            bound = lower_bound(self.prepared, self.plan_with(updates), self.board)
            cycles = self.rate * bound.macs
            found = cost_of(bound.ram_bytes, bound.macs, cycles, self.board)
            if fits(found, self.budget) and bound.macs < EXACT_MACS:
                ram = lower(self.prepared, self.plan_with(updates), self.board).ram_bytes
                found = cost_of(ram, bound.macs, cycles, self.board)
            self._known[key] = found
        return self._known[key]

    def fits(self, updates: Mapping[str, LayerUpdate]) -> bool:
        """Whether the bound is within the budget."""
        return fits(self.of(updates), self.budget)

    def exactly(self, updates: Mapping[str, LayerUpdate]) -> tuple[Lowered, Cost, bool]:
        """The plan as it would be compiled, its cost, and whether it is within the budget."""
        lowered = lower(self.prepared, self.plan_with(updates), self.board)
        macs = sum(lowered.macs.values())
        cycles = lowered.cycles.step if lowered.cycles else self.rate * macs
        cost = cost_of(lowered.ram_bytes, macs, cycles, self.board)
        small = self.budget.flash is None or lowered.flash_bytes <= self.budget.flash
        return lowered, cost, small and fits(cost, self.budget)
