"""`--learner elm`: recursive least squares behind hashed hidden units; see docs/learners.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.learning.learners import rls
from tinyodl.learning.learners.fitted import outputs_of
from tinyodl.learning.learners.learner import Learner

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options

HIDDEN = 128  # hashed units, as in the published core


def _makes(options: Options) -> Options:
    made = rls.makes(options)
    made["head"] = f"elm:{options.get('hidden', HIDDEN)},{outputs_of(options)}"
    return made


LEARNER = Learner(
    "elm",
    rls.RULE,
    takes=(*rls.LEARNER.takes, "hidden"),
    brings=("head", "optimizer"),
    makes=_makes,
    start=rls.starts,
)
