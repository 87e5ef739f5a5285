"""The search for plans of most value within a budget.

Small networks are searched exhaustively. Of others, for each first layer that learns, levels are
added by value per binding cost, and single swaps follow. Whether a plan fits is always asked of the
planner: a plan's memory is no sum over its layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tinyodl.select.budget import Costs
from tinyodl.select.levels import Choice, Ladder, updates_of, value_of

MOST_CHOICES = 60_000  # for an exhaustive search
MOST_LOOKS = 600  # plans that it may ask the planner about
FIRST_LAYERS = 6  # that are filled by asking the planner, the best by the estimate
SWAPS = 6


@dataclass(frozen=True)
class Filled:
    """A plan that the search filled.

    exhaustive  whether no choice of levels within the budget has a larger value
    """

    choice: Choice
    value: float
    exhaustive: bool = False


@dataclass(frozen=True)
class Search:
    """Ladders and costs of one search."""

    ladders: tuple[Ladder, ...]
    costs: Costs

    def fits(self, choice: Choice) -> bool:
        return self.costs.fits(updates_of(self.ladders, choice))

    def filled(self, choice: Choice, exhaustive: bool = False) -> Filled:
        return Filled(choice, value_of(self.ladders, choice), exhaustive)


def search(ladders: tuple[Ladder, ...], costs: Costs) -> tuple[Filled, ...]:
    """Plans within the budget, the best first: none has an option left that would still fit.

    () where not even the base fits.
    """
    of = Search(ladders, costs)
    nothing = (0,) * len(ladders)
    if not of.fits(nothing):
        return ()
    best = _exhaustive(of)
    found = [best] if best else []
    found += [of.filled(choice) for choice in _by_first_layer(of)]
    if not best and found:
        top = max(found, key=lambda each: each.value)
        found.append(of.filled(_swapped(of, _topped_up(of, top.choice))))
    found.append(of.filled(_topped_up(of, _by_layer(of))))
    kept = {each.choice: each for each in reversed(found)}
    return tuple(sorted(kept.values(), key=lambda each: -each.value))


def _exhaustive(of: Search) -> Filled | None:
    """The choice of most value, if the network is small enough to look at all.

    Choices come by falling value, so the first that fits is the best. What is at least as large as
    one that does not fit in every layer does not fit.
    """
    total = 1
    for ladder in of.ladders:
        total *= len(ladder.levels)
    if total > MOST_CHOICES:
        return None
    least = _least_levels(of)
    every = itertools.product(*(range(len(ladder.levels)) for ladder in of.ladders))
    allowed = [c for c in every if all(a in ok for a, ok in zip(c, least, strict=True))]
    allowed.sort(key=lambda choice: (-value_of(of.ladders, choice), choice))
    before = of.costs.asked
    failed: list[Choice] = []
    for choice in allowed:
        if any(_holds(of, choice, small) for small in failed):
            continue
        if of.fits(choice):
            return of.filled(choice, exhaustive=True)
        failed.append(choice)
        if of.costs.asked - before > MOST_LOOKS:
            return None
    return None


def _least_levels(of: Search) -> list[set[int]]:
    """The levels of each layer that fit if nothing else learns."""
    nothing = (0,) * len(of.ladders)
    return [
        {0} | {at for at in range(1, len(ladder.levels)) if of.fits(_with(nothing, index, at))}
        for index, ladder in enumerate(of.ladders)
    ]


def _holds(of: Search, large: Choice, small: Choice) -> bool:
    """Whether every layer learns at least as much under the one choice as under the other."""
    pairs = zip(of.ladders, large, small, strict=True)
    return all(a == b or b == 0 or _above(ladder, a, b) for ladder, a, b in pairs)


def _above(ladder: Ladder, large: int, small: int) -> bool:
    """Whether a level learns all that another does: biases, or more channels of the same side."""
    a, b = ladder.levels[large].update, ladder.levels[small].update
    if a == "none":
        return False
    if b == "bias":
        return True
    if isinstance(a, str) or isinstance(b, str):
        return False  # a whole layer may take less than most of its channels
    return a.side == b.side and large >= small


def _by_first_layer(of: Search) -> Iterator[Choice]:
    """For the most promising first layers: levels by value per cost, as many as fit."""
    estimated = []
    for first in range(len(of.ladders)):
        steps = _steps(of, first)
        if steps:
            estimated.append((-_estimate(of, steps), first, steps))
    taken = 0
    for _, _, steps in sorted(estimated, key=lambda each: each[:2]):
        if of.fits(steps[0]):
            yield _topped_up(of, _last_that_fits(of, steps), steps)
            taken += 1
        if taken == FIRST_LAYERS:
            return


def _steps(of: Search, first: int) -> list[Choice]:
    """Choices that grow by one level at a time, best value per cost first; layer `first` learns."""
    choice = [0] * len(of.ladders)
    if len(of.ladders[first].levels) < 2:
        return []
    choice[first] = 1
    steps = [tuple(choice)]
    while True:
        better = [
            (_rate(of, choice, index, at), -index, at)
            for index in range(first, len(of.ladders))
            for at in range(1, len(of.ladders[index].levels))
            if of.ladders[index].levels[at].value > of.ladders[index].levels[choice[index]].value
        ]
        if not better:
            return steps
        _, index, at = max(better)
        choice[-index] = at
        steps.append(tuple(choice))


def _rate(of: Search, choice: Sequence[int], index: int, at: int) -> float:
    """What a level adds in value by what it adds in cost, the larger share of the two budgets."""
    levels = of.ladders[index].levels
    now, then = levels[choice[index]], levels[at]
    ram, macs = _scales(of)
    cost = max((then.nbytes - now.nbytes) / ram, (then.macs - now.macs) / macs, 1e-9)
    return (then.value - now.value) / cost


def _scales(of: Search) -> tuple[float, float]:
    """About how many bytes and multiply-accumulates there are to give out."""
    base = of.costs.of({})
    ram = (of.costs.budget.ram or of.costs.board.ram.size) - base.ram
    time, most = base.time, of.costs.budget.time
    factors = [most / time] if most and time else []
    if of.costs.budget.energy and base.energy:
        factors.append(of.costs.budget.energy / base.energy)
    spare = (min(factors) - 1) * base.macs if factors else 100.0 * base.macs
    return max(ram, 1.0), max(spare, 1.0)


def _estimate(of: Search, steps: Sequence[Choice]) -> float:
    """The value of the last step that fits if nothing but what learns took room."""
    ram, macs = _scales(of)
    first = next(index for index, at in enumerate(steps[0]) if at)
    back = sum(ladder.backward for ladder in of.ladders[first + 1 :])
    best = value_of(of.ladders, steps[0]) if back < macs else 0.0
    for choice in steps:
        levels = [ladder.levels[at] for ladder, at in zip(of.ladders, choice, strict=True)]
        if sum(2 * each.nbytes for each in levels) > ram:
            break
        if back + sum(each.macs for each in levels) > macs:
            break
        best = value_of(of.ladders, choice)
    return best


def _last_that_fits(of: Search, steps: Sequence[Choice]) -> Choice:
    """The largest of growing choices that fits; the first one does."""
    low, high = 0, len(steps)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if of.fits(steps[middle]) else (low, middle)
    return steps[low]


def _topped_up(of: Search, choice: Choice, steps: Sequence[Choice] = ()) -> Choice:
    """The choice with every further level that fits, the best value per cost first.

    With `steps`, only layers from the first that learns on are looked at.
    """
    first = next((i for i, at in enumerate(steps[0]) if at), 0) if steps else 0
    failed: list[Choice] = []
    while True:
        better = sorted(
            (-_rate(of, choice, index, at), index, at)
            for index in range(first, len(of.ladders))
            for at in range(1, len(of.ladders[index].levels))
            if of.ladders[index].levels[at].value > of.ladders[index].levels[choice[index]].value
        )
        larger = _first_that_fits(of, (_with(choice, i, at) for _, i, at in better), failed)
        if larger is None:
            return choice
        choice = larger


def _by_layer(of: Search) -> Choice:
    """Layers by their whole value, each at the largest level that fits (Fisher potential first)."""
    choice = (0,) * len(of.ladders)
    order = sorted(range(len(of.ladders)), key=lambda i: -of.ladders[i].levels[-1].value)
    failed: list[Choice] = []
    for index in order:
        levels = reversed(range(1, len(of.ladders[index].levels)))
        choice = _first_that_fits(of, (_with(choice, index, at) for at in levels), failed) or choice
    return choice


def _first_that_fits(of: Search, larger: Iterable[Choice], failed: list[Choice]) -> Choice | None:
    """The first of the choices that fits; those that do not, and hold none of `failed`, join it."""
    for each in larger:
        if any(_holds(of, each, small) for small in failed):
            continue
        if of.fits(each):
            return each
        failed.append(each)
    return None


def _swapped(of: Search, choice: Choice) -> Choice:
    """The choice after swaps that raise its value: one layer learns less, others more."""
    for _ in range(SWAPS):
        value, tried = value_of(of.ladders, choice), []
        for index, at in enumerate(choice):
            levels = of.ladders[index].levels
            below = [k for k in range(len(levels)) if levels[k].value < levels[at].value]
            if below:
                smaller = _with(choice, index, max(below, key=lambda k: levels[k].value))
                tried.append((value - value_of(of.ladders, smaller), index, smaller))
        for _, index, smaller in sorted(tried)[:2]:
            other = _gaining(of, smaller, index, value)
            if other is not None:
                choice = _topped_up(of, other)
                break
        else:
            return choice
    return choice


def _gaining(of: Search, choice: Choice, without: int, value: float) -> Choice | None:
    """The choice with one more level elsewhere that brings it above `value`, if one fits."""
    better = sorted(
        (-value_of(of.ladders, _with(choice, index, at)), index, at)
        for index in range(len(of.ladders))
        for at in range(1, len(of.ladders[index].levels))
        if index != without
    )
    for gained, index, at in better[:4]:
        if -gained > value * (1 + 1e-9) and of.fits(_with(choice, index, at)):
            return _with(choice, index, at)
    return None


def _with(choice: Choice, index: int, at: int) -> Choice:
    return (*choice[:index], at, *choice[index + 1 :])
