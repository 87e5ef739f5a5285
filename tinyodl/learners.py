"""Options of `compile`; those of `--learner` are in `tinyodl.learning.learners`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from tinyodl.frontend import Precision
from tinyodl.learning.beside.cache.section import CachePolicy, Memory
from tinyodl.project.plan import Bound, Loss, Master, Outliers


class Options(TypedDict, total=False):
    """What is compiled and how it learns; the defaults are `UpdatePlan`'s and the scheme "last".

    `output` names the output that is trained and answered, where the model has several. `cut` is
    the node that the network shall end with, `head` a fresh classifier such as "dense:64,10" behind
    that node, or in the place of the last dense layer; its weights are drawn from `seed`.
    `simplify` lets onnxruntime fold what it can. `check` compares what is left with the original.
    `precision` "int8" quantises a float32 model, but no fresh head, with the samples of the file
    `calibrate` (.npz with x, or .csv).

    `learner` is a way to learn as a whole: "online" puts a dense layer in the place of the last
    one, which learns by gradients behind a running standardisation of what it reads; "rls" one
    that learns by recursive least squares; "elm" the same behind `hidden` units of hashed weights.
    They begin at zero, or with `start` as if they had learned from the samples of that file. The
    layer has `classes` outputs, by default as many as the model's, and reads the nodes `tap`, by
    default what the model's last dense layer reads. Each of the samples it starts from counts as
    much as `start_weight` of the stream's. With `max_classes` in the place of `classes` the outputs
    are free: each new label takes the next. With `grow` the first of them are those of the model's
    own last layer, whose weights the layer begins with. `activation` "sigmoid" is behind the layer
    of "online": its cross-entropy is then "binary-cross-entropy", which brings a sigmoid in turn.
    With a loss of reconstruction the layers of the model itself learn, as `update` says, and
    `start` is what the device shall know the errors of. `ridge` and `forgetting` are
    `UpdatePlan`'s, as are `metrics`, `fading`, `threshold` and `learn_flagged`.
    "slda" and "ncm" put a dense layer there that is made of the means of the classes.
    "transfer" learns a `head` behind frozen layers, by momentum from a `cache` of their features;
    `cache_memory`, `cache_policy`, `replay` and `weight_decay` are `UpdatePlan`'s. Without head,
    `cut`, `tap` and `classes` it is the model's own last layer that goes on learning.

    `update` is a scheme ("last", "bias", "full", "none") or the path of a plan file, whose own
    training rule then counts instead of the other options. With a head, "last" is the head.
    `query`, `error_budget`, `drift`, `guard`, `guard_memory` and `outliers` are `UpdatePlan`'s, and
    go with every learner; so is `bound`, for those that learn by gradients.
    """

    output: str
    cut: str
    head: str
    tap: Sequence[str]
    learner: str
    classes: int
    max_classes: int
    labels: Sequence[int]
    unlabelled: bool
    grow: bool
    activation: Literal["linear", "sigmoid"]
    hidden: int
    start: str | Path
    start_weight: float
    ridge: float
    forgetting: float
    simplify: bool
    precision: Precision
    calibrate: str | Path
    check: bool
    update: str
    loss: Loss
    metrics: bool
    fading: float
    threshold: str
    learn_flagged: bool
    optimizer: str
    learning_rate: float
    batch: int
    weight_decay: float
    bound: Bound
    cache: int
    cache_memory: Memory
    cache_policy: CachePolicy
    replay: int
    master: Master
    scaling: bool
    seed: int
    query: str
    error_budget: float
    drift: bool
    guard: str
    guard_memory: Memory
    outliers: Outliers
