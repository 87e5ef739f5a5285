"""`--learner transfer`: a head behind frozen layers, which learns from a cache of their features.

See docs/learners-transfer.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.errors import UserError
from tinyodl.learning.learners.fitted import OUTPUTS, outputs_of
from tinyodl.learning.learners.gradients import RULE
from tinyodl.learning.learners.learner import Learner

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options

# The rule where nothing else is given; `replay` is then the batch.
CACHE = 64
BATCH = 8
WEIGHT_DECAY = 2e-4  # as published


def _makes(options: Options) -> Options:
    if options.get("update", "last") != "last":
        raise UserError("--learner transfer learns its head; leave --update away")
    for name in OUTPUTS:
        if name in options and "head" in options:
            flag = name.replace("_", "-")
            raise UserError(f"--head says how many classes there are; leave --{flag} away")
    if options.get("cache", 1) < 1:
        raise UserError(f"--cache {options['cache']}: --learner transfer keeps at least 1 sample")
    made: Options = {"optimizer": "momentum", "batch": BATCH, "cache": CACHE, **options}
    if any(name in options for name in (*OUTPUTS, "cut", "tap")):
        made.setdefault("head", f"dense:{outputs_of(options)}")
    if "max_classes" in options:
        made.setdefault("labels", ())
    if made.get("loss") != "mse":
        made.setdefault("unlabelled", True)
    if "head" in made and made["optimizer"] in ("sgd", "momentum"):
        made.setdefault("weight_decay", WEIGHT_DECAY)
    made.setdefault("replay", made["batch"])
    return made


LEARNER = Learner(
    "transfer",
    RULE,
    takes=(*OUTPUTS, "grow"),
    makes=_makes,
)
