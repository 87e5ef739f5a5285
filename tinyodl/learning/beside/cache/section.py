"""The plan's section [cache], and the options that fill it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyodl.learning.beside.section import Section
from tinyodl.project.option import Option

if TYPE_CHECKING:
    from tinyodl.project.plan import UpdatePlan

CachePolicy = Literal["ring", "reservoir", "balanced", "first", "ageing"]
Memory = Literal["ram", "flash"]

MOST_REPLAYED = 256  # samples in the update of a step
_GROUP = "Learning again from a cache"


def _of_samples(number: object) -> Mapping[str, object] | None:
    return None if number == 0 else {"samples": number}


class Cache(Section):
    """The features of `samples` samples are kept, so that the learning layers train on them again.

    `policy` says which samples make room when the cache is full. A training step learns from
    `replay` samples at once: the new one, and others drawn from the cache, every class as often;
    with 0 it only keeps the new one. With `memory` "flash" each sample is written once, and
    survives a loss of power.
    """

    samples: int = Field(ge=1, le=32767)
    policy: CachePolicy = "ageing"
    memory: Memory = "ram"
    replay: int = Field(default=1, ge=0, le=MOST_REPLAYED)

    NAME: ClassVar = "cache"
    CALLED: ClassVar = "a cache"
    PURPOSE: ClassVar = "keeps samples with labels for gradients"
    NOT_FOR_LOSSES: ClassVar = frozenset({"mse", "reconstruction", "reconstruction-cross-entropy"})
    NEEDS_GRADIENTS: ClassVar = True
    DRAWS_BATCHES: ClassVar = True
    OPTIONS: ClassVar = (
        Option(
            "cache", metavar="N", kind=int, group=_GROUP, default=0, note="transfer: 64",
            section="cache", switch=True, fills=_of_samples,
            help="Keep the features of N samples, in int8, to learn from them again.",
        ),
        Option(
            "cache_memory", group=_GROUP, section="cache", field="memory",
            help="In flash each sample is written once, and stays there without power.",
        ),
        Option(
            "cache_policy", group=_GROUP, metavar="POLICY", section="cache", field="policy",
            note="flash: balanced",
            help="Which are kept when the cache is full: ring (the latest), reservoir (any with "
            "the same chance), balanced (as many of each class), first, or ageing (as many of each "
            "class, and of those the later ones). Flash: balanced or first.",
        ),
        Option(
            "replay", metavar="K", group=_GROUP, section="cache", field="replay",
            note="transfer: as --batch",
            help="Samples in the update of a step: the one that came and K - 1 of the cache; "
            "0 only keeps it.",
        ),
    )  # fmt: skip

    @property
    def samples_a_step(self) -> int:
        return max(1, self.replay)

    @property
    def not_undone(self) -> str:
        if self.memory == "ram":
            return ""
        return "the board keeps samples in flash that cannot be told from those of before it"

    @model_validator(mode="before")
    @classmethod
    def _in_flash(cls, given: Any) -> Any:
        """A cache in flash, where nothing can be written over, is "balanced" by default."""
        if isinstance(given, dict) and given.get("memory") == "flash":
            return {"policy": "balanced", **given}
        return given

    @model_validator(mode="after")
    def _writes_once(self) -> Self:
        if self.memory == "flash" and self.policy not in ("balanced", "first"):
            raise ValueError(
                f"in flash nothing is written over, as cache_policy {self.policy} would; "
                "take balanced or first"
            )
        return self

    def check(self, plan: UpdatePlan) -> None:
        super().check(plan)
        if "statistics" in plan.layers.values():
            raise ValueError(
                "a cache is not there together with statistics that follow the samples"
            )
        if self.memory == "flash" and plan.labels is not None:
            raise ValueError(
                "in flash a cache would outlive the table of labels as they come (--max-classes); "
                "keep it in RAM"
            )


SECTION = Cache
