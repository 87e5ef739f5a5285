"""`--head prototypes:N`: the class whose mean points where the sample does; see docs/choosing.md.

The head may go on learning by another rule: `tinyodl.learning.beside.prototypes`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.learners.fitted import START
from tinyodl.learning.learners.learner import Begun, Fit, Fitted, Learner, Rule, Shown
from tinyodl.learning.learners.ncm import makes_of_means, mean_layer, means_of
from tinyodl.ops.class_means import NO_CLASS
from tinyodl.select import SCHEMES

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.plan import UpdatePlan

LENGTHS = "length of each sum"  # suffix of a state's name
GOES_ON = ("online", "rls", "transfer")  # learners that take over a head of prototypes
_CHOICES = ("auto", "device")  # values of --update that are no plan files either
_HEAD = re.compile(r"prototypes:([1-9]\d{0,8})")
_NO_CONFIDENCE = (
    "its outputs are cosines times the length of the features, of which no threshold says how "
    "sure they are"
)


def with_prototypes(options: Options) -> Options:
    """The options with those that `--head prototypes:N` stands for. Raises UserError."""
    head = options.get("head", "")
    if not head.startswith("prototypes"):
        if "shots" in options:
            raise UserError("--shots is for --head prototypes:N; give both")
        return options
    found = _HEAD.fullmatch(head)
    if not found:
        raise UserError(f"--head {head}: give the most labels that may come, as prototypes:5")
    for name in ("classes", "max_classes", "grow"):
        if name in options:
            flag = name.replace("_", "-")
            raise UserError(f"--head {head} says how many labels may come; leave --{flag} away")
    update = options.get("update", "last")
    by_file = update not in (*SCHEMES, *_CHOICES)
    if by_file:
        _check_file(Path(update), head)
    if "shots" in options or by_file:
        return _going_on(options, int(found[1]))
    for name in ("learner", "optimizer", "update"):
        if name in options:
            raise UserError(
                f"--head {head} makes prototypes of all samples, and learns nothing else; --{name} "
                "is for a head that goes on learning: say after how many samples of each label, "
                "with --shots K"
            )
    made: Options = {**options, "learner": "prototypes", "max_classes": int(found[1])}
    del made["head"]
    return made


def _check_file(path: Path, head: str) -> None:
    """Raises UserError for a plan file without prototypes, whose head would begin at zero."""
    from tinyodl.project.plan_file import load_plan  # plans load the learners

    if "prototypes" not in load_plan(path).beside:
        raise UserError(
            f"{path}: it has no section [prototypes], and --head {head} needs one; add it, with "
            "shots = K"
        )


def _going_on(options: Options, outputs: int) -> Options:
    """The options of a head that goes on learning."""
    learner = options.get("learner")
    if learner and learner not in GOES_ON:
        raise UserError(
            f"--learner {learner} makes a layer of its own; a head of prototypes goes on learning "
            f"with --learner {', '.join(GOES_ON[:-1])} or {GOES_ON[-1]}, or by gradients without "
            "--learner"
        )
    if "start" in options:
        raise UserError("--start and --shots both say how the head begins; give one of them")
    made: Options = {**options}
    if learner in ("online", "rls"):  # they bring the same layer
        del made["head"]
        made["max_classes"] = outputs
    made["labels"] = ()
    made.setdefault("unlabelled", True)
    return made


def _replaces(graph: Graph, plan: UpdatePlan, loss: Node, begun: Begun) -> Graph:
    """The graph with the update of one class's prototype behind the loss."""
    layer, x, w, b = mean_layer(graph, "prototypes", begun)
    outputs, _ = graph.shape(w)
    lengths = f"<{w}.{LENGTHS}>"
    made = Tensor(lengths, (outputs,), Storage.STATE, data=begun.get(LENGTHS))
    op = "Prototypes"
    update = Node(op, f"{layer.name}.{op}", (x, w, b, lengths), (), {}, Phase.UPDATE)
    return replace(graph.with_tensors([made]), nodes=(*graph.nodes, update))


def _directions(shown: Shown) -> Fitted:
    """In float64, where the board adds in float32; each sample counts `weight` times."""
    means, counts = means_of(shown)
    sizes = np.linalg.norm(means, axis=1)
    biases = np.where(counts > 0, 0.0, NO_CLASS)
    lengths = (sizes * counts).astype(np.float32)
    return Fitted(means / np.maximum(sizes, 1e-30)[:, None], biases, {LENGTHS: lengths})


def _starts(options: Options) -> Fit:
    return _directions


def _says(plan: UpdatePlan) -> str:
    return "optimizer prototypes"


RULE = Rule(
    ("prototypes",),
    "cosine prototypes",
    losses=("zero-one",),
    wants="optimizer prototypes learns the means of classes, from labels: loss zero-one",
    says=_says,
    by_itself=True,
    refuses={"query": _NO_CONFIDENCE},
    zero=True,
    bias=NO_CLASS,
    replaces=_replaces,
)

LEARNER = Learner(
    "prototypes",
    RULE,
    takes=("max_classes", *START),
    brings=("head", "optimizer"),
    makes=makes_of_means,
    start=_starts,
)
