"""Without `--learner`: layers of the network itself learn, by gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.learning.learners.learner import Learner, Rule

if TYPE_CHECKING:
    from tinyodl.project.plan import UpdatePlan

_LOSSES = ("cross-entropy", "binary-cross-entropy", "one-hot", "mse")
_RECONSTRUCTIONS = ("reconstruction", "reconstruction-cross-entropy")


def _says(plan: UpdatePlan) -> str:
    decay = f", weight decay {plan.weight_decay:g}" if plan.weight_decay else ""
    return (
        f"optimizer {plan.optimizer}, learning rate {plan.learning_rate:g}{decay}, "
        f"batch {plan.batch}"
    )


RULE = Rule(
    ("sgd", "momentum", "adam"),
    "gradients",
    losses=(*_LOSSES, *_RECONSTRUCTIONS),
    wants="loss zero-one has no gradient: it is for --learner slda and ncm, and prototypes",
    says=_says,
    variants={"momentum": ("momentum",), "adam": ("beta1", "beta2", "epsilon")},
)

LEARNER = Learner("", RULE, reconstructs=True)
