"""Plans trained for real on held-out samples: the arbiter between those that a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyodl.host_run.network import HostNetwork
from tinyodl.interrupt import interruptible
from tinyodl.planner.lowering import Lowered
from tinyodl.project.plan import UpdatePlan
from tinyodl.rehearsal.trial import Course, Outcome, difference, try_out
from tinyodl.select.budget import Cost
from tinyodl.select.importance import Samples
from tinyodl.select.progress import OnTrial, Progress

RATES = (0.05, 0.2, 0.8)  # times 1 / reach (`Importance.reach`)
COURSE = Course(passes=4)
SHORT = Course(passes=2, seeds=(0,))  # for networks of long steps
MOST_MACS = 8_000_000_000  # of the trial of one plan at one rate
LEAST_SAMPLES = 80


@dataclass(frozen=True)
class Tried:
    """A plan that was looked at: what it learns, takes and brings.

    name      none, last, bias, or "filled 1", ... in the order of their values
    plan      with the rate that did best
    flash     bytes, of which those of code are an estimate
    value     by importance; None without samples
    outcome   of the trial at that rate; None where there was none
    verdict   "chosen", or why not
    """

    name: str
    plan: UpdatePlan
    cost: Cost
    flash: int
    value: float | None
    outcome: Outcome | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Shortlisted:
    """A plan to try, as it would be compiled, and whether it is within the budget."""

    tried: Tried
    lowered: Lowered
    fits: bool


Result = tuple[tuple[Tried, ...], Tried, tuple[str, ...], bool]


def by_trial(
    shortlist: Sequence[Shortlisted], reach: float, samples: Samples, progress: OnTrial | None
) -> Result:
    """All plans with their outcomes, the one to take, the reasons, and whether the user ended it.

    The best of the rates counts. Plans within one standard error of the best, of the same held-out
    samples, tie with it, and the cheapest of them is taken: least RAM, then least work.
    """
    todo = [each for each in shortlist if each.fits]
    course, samples = _scaled(todo, samples)
    rates = [factor / reach for factor in RATES]
    total = sum(len(_rates(each, rates)) for each in todo)
    outcomes: dict[str, tuple[float, Outcome]] = {}
    done = 0
    with interruptible() as wish:
        for each in todo:
            if wish.stop:
                break
            with HostNetwork.of(each.lowered) as net:
                for rate in _rates(each, rates):
                    if wish.stop:
                        break
                    if progress:
                        progress(Progress(done, total, each.tried.name))
                    outcome = _outcome(net, samples, rate, course)
                    known = outcomes.get(each.tried.name)
                    if outcome.finite and (not known or outcome.accuracy > known[1].accuracy):
                        outcomes[each.tried.name] = rate, outcome
                    done += 1
        stopped = wish.stop
    if progress:
        progress(Progress(total, total, ""))
    tried = [_with_outcome(each, outcomes, stopped) for each in shortlist]
    return (*_decided(tried), stopped)


def _rates(each: Shortlisted, rates: Sequence[float]) -> Sequence[float]:
    """One for a plan under which nothing learns."""
    return rates if each.tried.plan.layers else rates[:1]


def _scaled(todo: Sequence[Shortlisted], samples: Samples) -> tuple[Course, Samples]:
    """A shorter course, and fewer samples, where a step is long: the same for all plans."""
    longest = max(each.tried.cost.macs for each in todo)

    def most(course: Course) -> int:
        return MOST_MACS // (longest * course.passes * len(course.seeds) * (course.folds - 1))

    course = COURSE if most(COURSE) >= len(samples.x) else SHORT
    count = min(len(samples.x), max(LEAST_SAMPLES, most(course)))
    rows = np.arange(count, dtype=np.int64) * len(samples.x) // count
    groups = None if samples.groups is None else samples.groups[rows]
    assert samples.y is not None
    return course, Samples(samples.x[rows], samples.y[rows], groups)


def _outcome(net: HostNetwork, samples: Samples, rate: float, course: Course) -> Outcome:
    assert samples.y is not None
    return try_out(net, samples.x, samples.y, groups=samples.groups, rate=rate, course=course)


def _with_outcome(
    each: Shortlisted, outcomes: dict[str, tuple[float, Outcome]], stopped: bool
) -> Tried:
    if not each.fits:
        return replace(each.tried, verdict="does not fit")
    if each.tried.name not in outcomes:
        why = "not tried" if stopped else "its loss is no finite number at any rate"
        return replace(each.tried, verdict=why)
    rate, outcome = outcomes[each.tried.name]
    plan = each.tried.plan
    if plan.layers:
        plan = plan.model_copy(update={"learning_rate": float(f"{rate:.3g}")})
    return replace(each.tried, plan=plan, outcome=outcome)


def _decided(tried: Sequence[Tried]) -> tuple[tuple[Tried, ...], Tried, tuple[str, ...]]:
    """The plans with their verdicts, the chosen one, and the reasons."""
    scored = [(each, each.outcome) for each in tried if each.outcome]
    if not scored:
        cheapest = min((t for t in tried if t.verdict != "does not fit"), key=_cost)
        taken = replace(cheapest, verdict="chosen")
        told = tuple(taken if each is cheapest else each for each in tried)
        return told, taken, ("Nothing was tried, so the cheapest plan stays.",)
    best, top = max(scored, key=lambda pair: (pair[1].accuracy, -_cost(pair[0])[0]))
    tied = [each for each, outcome in scored if _ties(top, outcome)]
    chosen = min(tied, key=_cost)
    made = []
    for each in tried:
        if each is chosen:
            made.append(replace(each, verdict="chosen"))
        elif each.outcome and each in tied:
            made.append(replace(each, verdict="as good, and takes more"))
        elif each.outcome:
            less = difference(top, each.outcome)
            verdict = f"{100 * less.mean:.1f} ± {100 * less.error:.1f} points below"
            made.append(replace(each, verdict=verdict))
        else:
            made.append(each)
    taken = next(each for each in made if each.verdict == "chosen")
    return tuple(made), taken, _reasons(taken, best, scored)


def _ties(top: Outcome, other: Outcome) -> bool:
    return difference(top, other).ties


def _cost(tried: Tried) -> tuple[int, int]:
    return tried.cost.ram, tried.cost.macs


def _reasons(taken: Tried, best: Tried, scored: Sequence[tuple[Tried, Outcome]]) -> tuple[str, ...]:
    assert taken.outcome
    told = [
        f"{taken.name}: {100 * taken.outcome.accuracy:.1f} ± {100 * taken.outcome.error:.1f} % of "
        f"held-out samples are right after learning."
    ]
    names = {each.name: outcome for each, outcome in scored}
    if taken.name == "none":
        told.append("No plan that learns is better than the network as it is, by these samples.")
    elif taken.name == "last":
        told.append("`last` is enough here: no plan that learns more is better beyond the error.")
    elif "last" in names:
        more = difference(taken.outcome, names["last"])
        told.append(
            f"That is {100 * more.mean:+.1f} ± {100 * more.error:.1f} points against `last`."
        )
    if taken.name != best.name:
        told.append(f"{best.name} is within one standard error of it, and takes more.")
    return tuple(told)
