"""The plan's section [prototypes], and the option that fills it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tinyodl.learning.beside.section import Section
from tinyodl.learning.learners import rule_of
from tinyodl.project.option import Option

if TYPE_CHECKING:
    from tinyodl.project.plan import UpdatePlan

MOST = 65535


def _of_each(number: object) -> Mapping[str, object]:
    return {"shots": number}


class Prototypes(Section):
    """The first `shots` samples of each label make its row of the last layer.

    The row is the direction of their mean. All later samples train the layer by the plan's rule.
    """

    shots: int = Field(ge=1, le=MOST)

    NAME: ClassVar = "prototypes"
    CALLED: ClassVar = "prototypes"
    PURPOSE: ClassVar = "are of class labels, and for a layer that goes on learning"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse", "reconstruction", "reconstruction-cross-entropy"})
    COMPARES_CLASSES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "shots", metavar="K", kind=int, group="The learner's layer", example=5,
            section="prototypes", switch=True, fills=_of_each,
            note="with --head prototypes:N all samples make prototypes",
            help="Of --head prototypes:N: the first K samples of each label make its prototype, "
            "and later ones train the head by --update or --learner online, rls or transfer.",
        ),
    )  # fmt: skip

    def check(self, plan: UpdatePlan) -> None:
        super().check(plan)
        rule = rule_of(plan)
        if rule.losses == ("zero-one",):
            raise ValueError(
                f"{self.CALLED} {self.PURPOSE}: optimizer {plan.optimizer} makes all its rows of "
                "samples; leave shots away"
            )


SECTION = Prototypes
