"""Learners and the rules by which their plans learn: one module each, listed in `WORDS`.

`docs/adding-a-learner.md` says how to add one.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from tinyodl.errors import UserError

if TYPE_CHECKING:  # they read plans, and plans are checked by them
    from tinyodl.learning.learners.learner import Learner, Rule
    from tinyodl.project.plan import UpdatePlan

# The modules of this folder in the order of `--help`, each with its words there.
WORDS = {
    "gradients": "",  # the learner used without --learner
    "online": "gradients behind a running standardisation",
    "rls": "recursive least squares",
    "elm": "the same behind a hidden layer of hashed weights",
    "transfer": "a head behind frozen layers that replays a cache of their features",
    "slda": "linear discriminants of a covariance that the classes share",
    "ncm": "the class whose mean is nearest",
    "prototypes": "the class whose mean points where the sample does",
}


@cache
def learners() -> tuple[Learner, ...]:
    """All learners; the learner of `gradients` has no name."""
    return tuple(import_module(f"{__name__}.{name}").LEARNER for name in WORDS)


def names() -> tuple[str, ...]:
    """The values of `--learner`; this loads no module."""
    return tuple(WORDS)[1:]


def told() -> str:
    """A description of each learner, for the help of `--learner`."""
    return "; ".join(f"{name}, {words}" for name, words in WORDS.items() if words)


def learner_named(name: str | None) -> Learner:
    """The learner of that name, or the one of gradients for None. Raises UserError."""
    for each in learners():
        if each.name == (name or ""):
            return each
    raise UserError(f"learner {name}: give {either(names())}")


def optimizers() -> tuple[str, ...]:
    """The names that a plan's `optimizer` may have."""
    rules = dict.fromkeys(each.rule.optimizers for each in learners())
    return tuple(name for optimizers in rules for name in optimizers)


def rule_named(optimizer: str) -> Rule:
    """The rule of a plan with that `optimizer`. Raises UserError if there is none."""
    for each in learners():
        if optimizer in each.rule.optimizers:
            return each.rule
    raise UserError(f"optimizer {optimizer}: give {either(optimizers())}")


def rule_of(plan: UpdatePlan) -> Rule:
    """How a plan learns."""
    return rule_named(plan.optimizer)


def either(words: tuple[str, ...]) -> str:
    """ "a, b or c"."""
    return " or ".join(", ".join(words).rsplit(", ", 1))
