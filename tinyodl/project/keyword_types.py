"""The options of `tinyodl.compile`, for type checkers; `keyword_types_source` writes this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """What is compiled, and how it learns. Each has the default of the command line's flag."""

    # The output that is trained and answered, where the model has several.
    output: str

    # The size of each axis of an input, where the file leaves more open than the batch.
    shape: Sequence[str]

    # End the network with this node; everything after it goes away.
    cut: str

    # A fresh classifier, dense layers of N units: after --cut, or in the place of the last dense
    # layer, or on an embedding. With it, `--update last` is the head. prototypes:N: a layer made of
    # the means of up to N labels, which come as they like.
    head: str

    # What the fresh head reads, if not what the last dense layer does; several are put side by
    # side. reconstruction-error is that of an autoencoder.
    tap: Sequence[str]

    # Let onnxruntime fold constants and remove what has no effect, first.
    simplify: bool

    # int8: quantise a float32 model, except for a fresh head. [default: as in the file]
    precision: Literal["float32", "int8"]

    # Samples (.npz or .csv) for --precision int8, as the board will see them; labels are not
    # needed. They give the range of each value.
    calibrate: str | Path

    # false: Do not compare what --simplify and --cut left with the original network.
    check: bool

    # Budget for one training step, forward pass included, such as 150ms; as modelled. [default:
    # any]
    time: float

    # Budget for the energy of one training step, such as 2mJ; as estimated. [default: any]
    energy: float

    # A way to learn that brings its own last layer: online, gradients behind a running
    # standardisation; rls, recursive least squares; elm, the same behind a hidden layer of hashed
    # weights; transfer, a head behind frozen layers that replays a cache of their features; slda,
    # linear discriminants of a covariance that the classes share; ncm, the class whose mean is
    # nearest; prototypes, the class whose mean points where the sample does.
    learner: Literal["online", "rls", "elm", "transfer", "slda", "ncm", "prototypes"]

    # Outputs of the learner's layer. [default: as many as the model's]
    classes: int

    # Outputs of the learner's layer that are free at first: any label takes the next one when it
    # first comes.
    max_classes: int

    # With online or transfer, and --max-classes: begin with the weights and classes of the model's
    # own last layer, and leave the rest free.
    grow: bool

    # Of the outputs of online: sigmoid with --loss one-hot or cross-entropy, which is then the
    # binary one of each output; or linear, with one-hot. [default: linear; with cross-entropy a
    # softmax]
    activation: Literal["linear", "sigmoid"]

    # Hidden units of elm. [default: 128]
    hidden: int

    # Begin as if the learner had learned from these labelled samples (.npz or .csv). [default:
    # begin at zero]
    start: str | Path

    # What each of those counts, beside one of the stream. [default: 0.1]
    start_weight: float

    # What learns: last (the last layer), bias (all biases), full (everything), none, or as the plan
    # file of that path says, with its own training rule; auto: chosen for this model, board, budget
    # and --samples. device: the last layer, and of others what is chosen while the board runs;
    # --ram says how much memory that gets. [default: last]
    update: str

    # With --update device: the layers to choose among, the last N or those named. [default: all
    # that can be, 32 at most]
    candidates: str

    # Labelled samples (.npz or .csv) for --update auto to choose with, in the order of their
    # recording; an .npz may say in `groups` which recording each is of. [default: chosen as on
    # other networks]
    samples: str | Path

    # Plans that --update auto trains to compare them; 0: none, it goes by importance. [default: 8]
    trials: int

    # Learning rate. [default: 0.01]
    learning_rate: float

    # Of labels: cross-entropy of a softmax, binary-cross-entropy of a sigmoid, or one-hot, the
    # squared error against a vector of one 1; mse of target vectors; of autoencoders, against the
    # sample itself: reconstruction, mse, or reconstruction-cross-entropy, of a sigmoid and samples
    # from 0 to 1. [default: cross-entropy; rls and elm: one-hot; slda, ncm and prototypes: zero-
    # one]
    loss: Literal[
        "cross-entropy",
        "binary-cross-entropy",
        "one-hot",
        "zero-one",
        "mse",
        "reconstruction",
        "reconstruction-cross-entropy",
    ]

    # sgd, momentum or adam; or rls, slda, ncm or prototypes, which the learners of that name bring.
    # [default: sgd]
    optimizer: Literal["sgd", "momentum", "adam", "rls", "slda", "ncm", "prototypes"]

    # Samples per update. [default: 1]
    batch: int

    # What sgd and momentum add of each weight to its gradient. [default: 0; transfer: 0.0002]
    weight_decay: float

    # on: a step of gradient descent that reaches too far is made smaller; normalised: every step is
    # divided by how far it reaches. [default: on]
    bound: Literal["on", "normalised", "off"]

    # How sure rls, elm and slda are of nothing at first, as a share of |x|^2 of what they read;
    # with --start of online, whose inputs have no unit, as it is. [default: 0.01; online: 1]
    ridge: float

    # What rls, elm, slda, ncm and the statistics of online keep of the past at each sample, e.g.
    # 0.999; 1 is all of it. [default: 1]
    forgetting: float

    # keep: Learn from samples far outside those before too; without it they are predicted, and not
    # learned.
    outliers: Literal["skip", "keep"]

    # The labels that the first outputs stand for; the others are free.
    labels: Sequence[int]

    # The label -1 may be sent: such a sample is predicted, and no weight learns from it.
    unlabelled: bool

    # Of the head's weights, and of what the device draws. [default: 0]
    seed: int

    # What is kept below the integer of an int8 weight that learns: int16 are 8 bits. [default:
    # int16]
    master: Literal["none", "int16", "float32"]

    # false: Without quantisation-aware scaling of int8 gradients.
    scaling: bool

    # The error of a reconstruction above which a sample is an anomaly: gaussian:Z (mean and Z
    # standard deviations), percentile:P or fixed:T. [default: gaussian:3]
    threshold: str

    # Learn from samples above the threshold too, where they have no label: for a machine that
    # changes. What stays out of order is then learned as normal.
    learn_flagged: bool

    # Keep the features of N samples, in int8, to learn from them again. [default: 0; transfer: 64]
    cache: int

    # In flash each sample is written once, and stays there without power. [default: ram]
    cache_memory: Literal["ram", "flash"]

    # Which are kept when the cache is full: ring (the latest), reservoir (any with the same
    # chance), balanced (as many of each class), first, or ageing (as many of each class, and of
    # those the later ones). Flash: balanced or first. [default: ageing; flash: balanced]
    cache_policy: Literal["ring", "reservoir", "balanced", "first", "ageing"]

    # Samples in the update of a step: the one that came and K - 1 of the cache; 0 only keeps it.
    # [default: 1; transfer: as --batch]
    replay: int

    # The board says which labels it wants: always, margin:T (those of margins below T), or auto (as
    # many as keep to --error-budget). [default: it is trained with all]
    query: str

    # Of --query auto: how many of the answers that nobody checks may be wrong. [default: 0.01]
    error_budget: float

    # Watch for samples that are other than those learned, class by class.
    drift: bool

    # Hold every K-th labelled sample back to test on, and undo what makes the network worse by more
    # than MARGIN (0.1).
    guard: str

    # Where the guard keeps the best parameters. [default: ram]
    guard_memory: Literal["ram", "flash"]

    # Let the device count by label what it predicts, and how often right.
    metrics: bool

    # How much less a prediction counts in that share with the next. [default: 0.99]
    fading: float

    # Of --head prototypes:N: the first K samples of each label make its prototype, and later ones
    # train the head by --update or --learner online, rls or transfer. [default: with --head
    # prototypes:N all samples make prototypes]
    shots: int
