"""`Section`: a plan's settings for a feature that runs beside learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from tinyodl.learning.learners import rule_of
from tinyodl.project.option import Option

if TYPE_CHECKING:
    from tinyodl.project.plan import UpdatePlan


class Section(BaseModel):
    """A feature's section of a plan. A plan has it if the feature is on.

    `CALLED` and `PURPOSE` begin the sentence that refuses a rule: "drift", "is for class labels".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    NAME: ClassVar[str]  # of the folder, and of the section in plan.toml
    OPTIONS: ClassVar[tuple[Option, ...]]  # the first one turns it on
    CALLED: ClassVar[str]
    PURPOSE: ClassVar[str]
    NOT_FOR_LOSSES: ClassVar[frozenset[str]] = frozenset()
    NEEDS_GRADIENTS: ClassVar[bool] = False
    DRAWS_BATCHES: ClassVar[bool] = False  # whole ones: no batch is left open between steps
    COMPARES_CLASSES: ClassVar[bool] = False  # it needs two outputs or more

    @classmethod
    def of(cls, plan: UpdatePlan) -> Self | None:
        """The plan's section of this feature; None where the feature is off."""
        found = plan.beside.get(cls.NAME)
        return found if isinstance(found, cls) else None

    @classmethod
    def on(cls, plan: UpdatePlan) -> Self:
        """The section of a plan that has the feature."""
        found = cls.of(plan)
        assert found is not None, cls.NAME
        return found

    @property
    def samples_a_step(self) -> int:
        """How many samples the update of one step takes."""
        return 1

    @property
    def not_stored(self) -> str:
        """State that a save does not contain, so that no run can resume; "" if there is none."""
        return ""

    @property
    def not_undone(self) -> str:
        """State of a run that stays on the board when the run starts over; "" if there is none."""
        return ""

    def check(self, plan: UpdatePlan) -> None:
        """Raises ValueError where the feature does not go with the plan's rule."""
        if plan.loss in self.NOT_FOR_LOSSES:
            raise ValueError(f"{self.CALLED} {self.PURPOSE}: not for loss {plan.loss}")
        if self.NEEDS_GRADIENTS and rule_of(plan).replaces:
            raise ValueError(f"{self.CALLED} {self.PURPOSE}: not for optimizer {plan.optimizer}")
