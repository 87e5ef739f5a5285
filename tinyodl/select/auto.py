"""`--update auto`: which layers and channels learn, chosen for a model, a board and samples.

    chosen = choose_plan(prepared, UpdatePlan(), board, Samples(x, y), Budget(ram=96 * 1024))
    chosen.plan       # an UpdatePlan, for `lower` and for plan.toml
    chosen.tried      # what was tried, with costs and accuracies

Importance (`importance`) gives each layer and channel a value, the search (`search`) fills plans
within the budget, and a trial on held-out samples (`tinyodl.rehearsal.trial`) decides between the
best of them and `none`, `last` and `bias`. docs/choosing.md has the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tinyodl.errors import DoesNotFitError, UserError
from tinyodl.frontend import Prepared
from tinyodl.learning.learners import rule_of
from tinyodl.ops import layers_of
from tinyodl.project.layer_update import LayerUpdate
from tinyodl.project.plan import LABELLED, UpdatePlan
from tinyodl.select.budget import Budget, Costs, check_budget
from tinyodl.select.fixed import choose
from tinyodl.select.importance import Importance, Samples, importance
from tinyodl.select.levels import ladders_of, updates_of, value_of, worth
from tinyodl.select.prior import by_prior
from tinyodl.select.progress import OnTrial
from tinyodl.select.search import search
from tinyodl.select.trials import Shortlisted, Tried, by_trial
from tinyodl.targets.boards import Board

TRIALS = 8  # plans that are trained, `none`, `last` and `bias` among them

Updates = Mapping[str, LayerUpdate]


@dataclass(frozen=True)
class Chosen:
    """The plan to take, and how it was found.

    taken       the plan to take, one of `tried`
    tried       all plans that were looked at
    sentences   the reasons, for people
    importance  None without samples
    stopped     the user ended the trials early
    """

    taken: Tried
    tried: tuple[Tried, ...]
    sentences: tuple[str, ...]
    importance: Importance | None = None
    stopped: bool = False

    @property
    def plan(self) -> UpdatePlan:
        """The plan to take."""
        return self.taken.plan


def choose_plan(
    prepared: Prepared,
    plan: UpdatePlan,
    board: Board,
    samples: Samples | None = None,
    budget: Budget | None = None,
    *,
    trials: int = TRIALS,
    progress: OnTrial | None = None,
) -> Chosen:
    """The layers and channels that learn on `board` within `budget`, and the rate.

    `plan` has the training rule; its layers do not count. The budget is that of the whole firmware
    and the whole step, and at most what the board has. Without `samples` the plan follows a prior
    (`tinyodl.select.prior`). With them, up to `trials` plans are trained for real, and `none`,
    `last` and `bias` in any case; 0 takes the plan of most value without a trial. Trials need class
    labels. Ctrl-C ends them, and what is done counts.

    Raises DoesNotFitError where not even a network that learns nothing is within the budget,
    UserError for a rule without gradients or a budget the board has no model of, DataError for
    samples that do not fit, ToolError where there is no C compiler.
    """
    if rule_of(plan).replaces:
        raise UserError(
            f"--update auto chooses among layers that learn by gradients, and optimizer "
            f"{plan.optimizer} has a layer of its own; leave --update or --learner away"
        )
    budget = _within(budget or Budget(), board)
    check_budget(budget, board)
    costs = _costs(prepared, plan, board, budget)
    if samples is None:
        return _without_samples(costs)
    found = importance(prepared, plan, samples)
    shortlist = _shortlist(costs, found, max(trials, len(_FIXED) + 1))
    if trials == 0 or samples.y is None or plan.loss not in LABELLED:
        return _by_value(shortlist, found)
    tried, taken, sentences, stopped = by_trial(shortlist, found.reach, samples, progress)
    return Chosen(taken, tried, sentences, found, stopped)


_FIXED = ("none", "last", "bias")


def _within(budget: Budget, board: Board) -> Budget:
    """The budget, at most what the board has."""
    ram = min(budget.ram or board.ram.size, board.ram.size)
    flash = min(budget.flash or board.flash.size, board.flash.size)
    return replace(budget, ram=ram, flash=flash)


def _costs(prepared: Prepared, plan: UpdatePlan, board: Board, budget: Budget) -> Costs:
    """The costs of plans under which the last layer learns, if that is within the budget."""
    rule = plan.model_copy(update={"layers": {}})
    base: dict[str, LayerUpdate] = dict.fromkeys(prepared.head, "weights")
    if prepared.standardized:
        base[prepared.standardized] = "statistics"
    if not base:
        learning = choose(prepared.graph, "last").items()
        base = {name: update for name, update in learning if update != "none"}
    costs = Costs(prepared, rule, board, budget, base)
    lowered, _, _ = costs.exactly({})
    if lowered.cycles:  # the same network: about as many cycles for a multiply-accumulate
        costs.rate = lowered.cycles.step / max(1, sum(lowered.macs.values()))
    if costs.fits({}):
        return costs
    costs = Costs(prepared, rule, board, budget, {}, costs.rate)
    if not costs.fits({}):
        _, cost, _ = costs.exactly({})
        raise DoesNotFitError(
            f"{prepared.path.name} learns nothing within this budget: with all layers frozen a "
            f"step takes {cost.ram:,} B of RAM{_time(cost.time)} on {board.name}; raise the "
            "budget, or take a smaller model"
        )
    return costs


def _time(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f" and {milliseconds:.3g} ms"


def _without_samples(costs: Costs) -> Chosen:
    """The plan of the prior."""
    graph = costs.prepared.under(costs.plan)
    updates = by_prior(graph, costs)
    taken = _smaller_until_it_fits(costs, updates, "prior", None)
    sentences = (
        "There were no samples to choose with (--samples), so this is what does best on other "
        "networks: the biases of the layers that fit, the last layer, then layers in the middle.",
    )
    return Chosen(replace(taken.tried, verdict="chosen"), (taken.tried,), sentences)


def _shortlist(costs: Costs, found: Importance, most: int) -> list[Shortlisted]:
    """The fixed plans, then the best that the search filled, at most `most` in all."""
    graph = costs.prepared.under(costs.plan)
    biases = choose(graph, "bias") if any(layer.bias for layer in found.layers.values()) else {}
    fixed: dict[str, Updates] = {"none": {}, "last": {}, "bias": biases}
    made = []
    for name in _FIXED:
        base = {} if name == "none" or (name == "bias" and not costs.prepared.head) else costs.base
        plain = Costs(costs.prepared, costs.plan, costs.board, costs.budget, base, costs.rate)
        learning = {n: u for n, u in fixed[name].items() if u != "none"}
        lowered, cost, fits = plain.exactly(learning)
        value = sum(
            worth(update, found.layers[layer])
            for layer, update in {**base, **learning}.items()
            if layer in found.layers
        )
        tried = Tried(name, plain.plan_with(learning), cost, lowered.flash_bytes, value)
        made.append(Shortlisted(tried, lowered, fits))
    ladders = ladders_of(graph, found, list(costs.base))
    if not ladders:
        return made
    seen = {repr(each.tried.plan.layers) for each in made}
    for filled in search(ladders, costs):
        updates = updates_of(ladders, filled.choice)
        plan = costs.plan_with(updates)
        if len(made) < most and repr(plan.layers) not in seen:
            seen.add(repr(plan.layers))
            name = f"filled {len(made) - len(_FIXED) + 1}"
            value = value_of(ladders, filled.choice)
            value += sum(worth("weights", found.layers[n]) for n in costs.base if n in found.layers)
            made.append(_smaller_until_it_fits(costs, updates, name, value))
    return made


def _smaller_until_it_fits(
    costs: Costs, updates: Updates, name: str, value: float | None
) -> Shortlisted:
    """The plan as it would be compiled; its first layer goes where the bound was too low."""
    left = dict(updates)
    while True:
        lowered, cost, fits = costs.exactly(left)
        if fits or not left:
            tried = Tried(name, costs.plan_with(left), cost, lowered.flash_bytes, value)
            return Shortlisted(tried, lowered, fits)
        order = [node.name for node in layers_of(lowered.graph) if node.name in left]
        del left[order[0]]


def _by_value(shortlist: list[Shortlisted], found: Importance) -> Chosen:
    """The plan of most value, without a trial."""
    fitting = [each.tried for each in shortlist if each.fits]
    taken = max(fitting, key=lambda tried: (tried.value or 0.0, -tried.cost.ram))
    told = [
        replace(
            each.tried,
            verdict="chosen" if each.tried is taken else _why_not(each, taken),
        )
        for each in shortlist
    ]
    chosen = next(tried for tried in told if tried.verdict == "chosen")
    sentence = "Nothing was trained to compare: this is the plan of most value in the budget."
    return Chosen(chosen, tuple(told), (sentence,), found)


def _why_not(each: Shortlisted, taken: Tried) -> str:
    return "of less value" if each.fits else "does not fit"
