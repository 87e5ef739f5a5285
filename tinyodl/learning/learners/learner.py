"""`Learner` and `Rule`: a way to learn, and how its plan turns samples into other weights.

A learner is what `--learner` names: options that belong together. A rule is what the plan names as
its `optimizer`. Several learners may share one rule, as rls and elm do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinyodl.graph import Array, Graph, Node

if TYPE_CHECKING:  # which load the learners themselves
    from tinyodl.frontend import Head
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

Begun = Mapping[str, Array]  # what the state of a rule begins with, by the suffix of its name


@dataclass(frozen=True)
class Shown:
    """Labelled samples to start from, as the layer reads them.

    features  (N, F) float64; `standardized` to mean 0 and variance 1, or as they are
    of        (N,) the output that is right for each
    outputs   of the layer; of free ones the first `in_use` have a label
    weight    what each counts, in samples of the stream
    ridge     what was given for it, if anything
    """

    features: Array
    of: Array
    outputs: int
    in_use: int
    weight: float
    ridge: float | None
    standardized: bool

    @property
    def power(self) -> float:
        """The mean |x|^2, or 1 where all is 0."""
        return float((self.features**2).sum(axis=1).mean()) or 1.0


@dataclass(frozen=True)
class Fitted:
    """A layer that has learned from samples: w (outputs, F), b (outputs,), and the rule's state."""

    w: Array
    b: Array
    begun: Begun = field(default_factory=dict)


Fit = Callable[[Shown], Fitted]


@dataclass(frozen=True)
class Rule:
    """How a plan learns, which names it as its `optimizer`.

    optimizers  the names; several are variants that share everything here.
    called      what it is, in words: "recursive least squares".
    losses      those of the plan that it can learn by; `wants` says so where another is given.
    whole_loss  the loss is of all outputs, also of those that stand for no label yet.
    by_itself   each sample is learned by itself, without gradients: no batch, no decay.
    refuses     features that may not run beside it, and why.
    fields      of the plan, which are the rule's own.
    variants    further ones, of one of its optimizers.
    says        the rule in words, for `tinyodl plan` and the report.
    smaller     what to do where it does not fit into RAM; "" where general advice will do.
    zero        a fresh layer begins with zero weights, and with biases of `bias`.
    replaces    (forward graph that ends with the loss, plan, loss, begun) -> the training graph, in
                the place of the walk along gradients. None: it is that walk. Raises UserError.
    anew        the state whose second number becomes 0 where the rule shall begin anew after a
                drift, by its suffix; "" where it cannot.
    """

    optimizers: tuple[str, ...]
    called: str
    losses: tuple[str, ...]
    wants: str
    says: Callable[[UpdatePlan], str]
    fields: tuple[str, ...] = ()
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole_loss: bool = False
    by_itself: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict)
    smaller: str = ""
    zero: bool = False
    bias: float = 0.0
    replaces: Callable[[Graph, UpdatePlan, Node, Begun], Graph] | None = None
    anew: str = ""

    def misfit(self, plan: UpdatePlan) -> str:
        """What in the plan does not go with the rule, in a sentence; "" where all does."""
        if plan.loss not in self.losses:
            return self.wants
        if self.by_itself and plan.batch != 1:
            return f"optimizer {plan.optimizer} learns from each sample by itself: batch 1"
        if self.by_itself and plan.weight_decay:
            return "weight_decay is for optimizer sgd and momentum"
        for name, why in self.refuses.items():
            if name in plan.beside:
                return f"{name} is not for optimizer {plan.optimizer}: {why}"
        return ""


def _as_they_are(options: Options) -> Options:
    return options


def _fresh(head: Head, options: Options) -> Head:
    return head


@dataclass(frozen=True)
class Learner:
    """A way to learn as a whole: a module of this folder, which `__init__` lists.

    name    what `--learner` calls it; "" is what is done without `--learner`.
    rule    how its plan learns, where the options name no other.
    takes   options that belong to some learners, and to this one.
    needs   of those, which need another option beside them.
    brings  options that it settles by itself, and that may not be given.
    makes   the options with those that it stands for. Raises UserError where they clash.
    layer   the fresh head as this learner begins it.
    reconstructs  an autoencoder may learn with it, by layers of its own.
    start   how its layer begins as if it had learned from samples; None where it cannot.
    """

    name: str
    rule: Rule
    takes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    brings: tuple[str, ...] = ()
    makes: Callable[[Options], Options] = _as_they_are
    layer: Callable[[Head, Options], Head] = _fresh
    reconstructs: bool = False
    start: Callable[[Options], Fit] | None = None
