"""Options of the training rule and of the learners, which bring a rule and a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tinyodl.learning.learners import names, optimizers, told
from tinyodl.project.option import Option

_AUTO = "The choice of --update auto"
_LAYER, _RULE = "The learner's layer", "The training rule"
_INT8, _AUTOENCODERS = "int8 layers that learn", "Autoencoders"
_WORDS = ("last", "bias", "full", "none", "auto", "device")


def _always(text: str) -> bool:
    return True


LEARNER = (
    Option(
        "learner", kind=str, words=names, often=3, metavar="LEARNER", example="rls",
        help=f"A way to learn that brings its own last layer: {told()}.",
    ),
    Option(
        "classes", example=5, kind=int, often=4, metavar="N", note="as many as the model's",
        help="Outputs of the learner's layer.",
    ),
    Option(
        "max_classes", example=5, kind=int, often=5, metavar="N",
        help="Outputs of the learner's layer that are free at first: any label takes the "
        "next one when it first comes.",
    ),
    Option(
        "grow", kind=bool, gives=True, group=_LAYER,
        help="With online or transfer, and --max-classes: begin with the weights and classes of "
        "the model's own last layer, and leave the rest free.",
    ),
    Option(
        "activation", example="sigmoid", kind=Literal["linear", "sigmoid"], group=_LAYER,
        note="linear; with cross-entropy a softmax",
        help="Of the outputs of online: sigmoid with --loss one-hot or cross-entropy, "
        "which is then the binary one of each output; or linear, with one-hot.",
    ),
    Option(
        "hidden", kind=int, group=_LAYER, metavar="N", default=128,
        help="Hidden units of elm.",
    ),
    Option(
        "start", example="day1.npz", kind=Path, often=6, metavar="DATA", note="begin at zero",
        is_path=_always,
        help="Begin as if the learner had learned from these labelled samples (.npz or .csv).",
    ),
    Option(
        "start_weight", kind=float, group=_LAYER, metavar="W", default=0.1,
        help="What each of those counts, beside one of the stream.",
    ),
)  # fmt: skip

RULE = (
    Option(
        "update", kind=str, often=8, default="last", metavar="WHAT",
        is_path=lambda text: text not in _WORDS,
        help="What learns: last (the last layer), bias (all biases), full (everything), none, or "
        "as the plan file of that path says, with its own training rule; auto: chosen for this "
        "model, board, budget and --samples. device: the last layer, and of others what is chosen "
        "while the board runs; --ram says how much memory that gets.",
    ),
    Option(
        "candidates", example="NODE", kind=str, group=_RULE, metavar="N|NODE,...",
        note="all that can be, 32 at most",
        help="With --update device: the layers to choose among, the last N or those named.",
    ),
    Option(
        "samples", example="day1.npz", kind=Path, group=_AUTO, metavar="DATA", is_path=_always,
        note="chosen as on other networks",
        help="Labelled samples (.npz or .csv) for --update auto to choose with, in the order of "
        "their recording; an .npz may say in `groups` which recording each is of.",
    ),
    Option(
        "trials", kind=int, group=_AUTO, metavar="N", default=8,
        help="Plans that --update auto trains to compare them; 0: none, it goes by importance.",
    ),
    Option(
        "learning_rate", flag="--lr", often=9, section="rule",
        help="Learning rate.",
    ),
    Option(
        "loss", group=_RULE, section="rule", metavar="LOSS",
        note="rls and elm: one-hot; slda, ncm and prototypes: zero-one",
        help="Of labels: cross-entropy of a softmax, binary-cross-entropy of a sigmoid, "
        "or one-hot, the squared error against a vector of one 1; mse of target vectors; "
        "of autoencoders, against the sample itself: reconstruction, mse, or "
        "reconstruction-cross-entropy, of a sigmoid and samples from 0 to 1.",
    ),
    Option(
        "optimizer", words=optimizers, group=_RULE, section="rule", metavar="OPTIMIZER",
        help="sgd, momentum or adam; or rls, slda, ncm or prototypes, which the learners of that "
        "name bring.",
    ),
    Option("batch", group=_RULE, section="rule", help="Samples per update."),
    Option(
        "weight_decay", group=_RULE, section="rule", note="transfer: 0.0002",
        help="What sgd and momentum add of each weight to its gradient.",
    ),
    Option(
        "bound", group=_RULE, section="rule",
        help="on: a step of gradient descent that reaches too far is made smaller; "
        "normalised: every step is divided by how far it reaches.",
    ),
    Option(
        "ridge", group=_RULE, section="rule", note="online: 1",
        help="How sure rls, elm and slda are of nothing at first, as a share of |x|^2 of "
        "what they read; with --start of online, whose inputs have no unit, as it is.",
    ),
    Option(
        "forgetting", group=_RULE, section="rule", metavar="F",
        help="What rls, elm, slda, ncm and the statistics of online keep of the past at each "
        "sample, e.g. 0.999; 1 is all of it.",
    ),
    Option(
        "outliers", gives="keep", flag="--keep-outliers", group=_RULE, section="rule",
        help="Learn from samples far outside those before too; without it they are "
        "predicted, and not learned.",
    ),
    Option(
        "labels", example=(3, 7), kind=int, flag="", several=True, section="rule",
        help="The labels that the first outputs stand for; the others are free.",
    ),
    Option(
        "unlabelled", example=True, flag="", section="rule",
        help="The label -1 may be sent: such a sample is predicted, and no weight learns from it.",
    ),
    Option(
        "seed", group=_RULE, section="rule",
        help="Of the head's weights, and of what the device draws.",
    ),
    Option(
        "master", group=_INT8, section="rule",
        help="What is kept below the integer of an int8 weight that learns: int16 are 8 bits.",
    ),
    Option(
        "scaling", gives=False, flag="--no-scaling", group=_INT8, section="rule",
        help="Without quantisation-aware scaling of int8 gradients.",
    ),
    Option(
        "threshold", group=_AUTOENCODERS, section="rule",
        metavar="RULE",
        help="The error of a reconstruction above which a sample is an anomaly: gaussian:Z (mean "
        "and Z standard deviations), percentile:P or fixed:T.",
    ),
    Option(
        "learn_flagged", gives=True, group=_AUTOENCODERS, section="rule",
        help="Learn from samples above the threshold too, where they have no label: for a "
        "machine that changes. What stays out of order is then learned as normal.",
    ),
)  # fmt: skip
