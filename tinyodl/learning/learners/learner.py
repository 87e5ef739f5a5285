"""`Learner` and `Rule`: a way to learn, and how its plan turns samples into other weights.

`--learner` names a learner: options that belong together. The plan's `optimizer` names a rule.
Several learners may share one rule, as rls and elm do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinyodl.graph import Array, Graph, Node

if TYPE_CHECKING:  # these modules load the learners themselves
    from tinyodl.frontend import Head
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

Begun = Mapping[str, Array]  # initial values of a rule's states, by the suffix of the state's name


@dataclass(frozen=True)
class Shown:
    """Labelled samples to start from, as the layer reads them.

    features  (N, F) float64; `standardized` to mean 0 and variance 1, or as they are
    of        (N,) the right output of each sample
    outputs   the number of the layer's outputs; only the first `in_use` have a label
    weight    how many samples of the stream each sample counts for
    ridge     the option's value, if given
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
    """How a plan learns. The plan names its rule as `optimizer`.

    optimizers  the rule's names; several names are variants that share everything here.
    called      the rule in words: "recursive least squares".
    losses      the losses it can learn by; `wants` is the error's text for any other loss.
    whole_loss  the loss takes all outputs, also those without a label yet.
    by_itself   each sample is learned by itself, without gradients: no batch, no decay.
    refuses     features that may not run beside it, and why.
    fields      the plan's fields that only this rule uses.
    variants    further ones, of one of its optimizers.
    says        the rule in words, for `tinyodl plan` and the report.
    smaller     advice for a plan that does not fit into RAM; "" if general advice will do.
    zero        a fresh layer begins with zero weights, and with biases of `bias`.
    replaces    (forward graph up to the loss, plan, loss, begun) -> the training graph, instead of
                the walk along gradients. None: the rule uses that walk. Raises UserError.
    anew        suffix of the state whose second number becomes 0 to begin anew after a drift; "" if
                the rule cannot.
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
        """A sentence on the part of the plan that does not fit the rule; "" if all fits."""
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

    name    its name for `--learner`; "" is the learner used without `--learner`.
    rule    how its plan learns, if the options name no other rule.
    takes   options of some learners only, this one included.
    needs   for some of these options, another option they need.
    brings  options that it sets itself; the user may not give them.
    makes   adds the options it stands for to the given ones. Raises UserError if they clash.
    layer   the fresh head as this learner begins it.
    reconstructs  an autoencoder may learn with it, by layers of its own.
    start   makes the layer begin as if it had learned from samples; None if it cannot.
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
