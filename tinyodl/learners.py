"""`--learner`: ways to learn as a whole, each a set of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from tinyodl.errors import UserError
from tinyodl.project.keyword_types import Options
from tinyodl.project.plan import RECONSTRUCTIONS

Learner = Literal["online", "rls", "elm", "transfer"]
HIDDEN = 128  # hashed units, as in the published core

# The rule of --learner transfer where nothing else is given; `replay` is then the batch.
CACHE = 64
BATCH = 8
WEIGHT_DECAY = 2e-4  # as published


# What belongs to learners, and to which of them.
_OF: dict[str, tuple[Learner, ...]] = {
    "classes": ("online", "rls", "elm", "transfer"),
    "max_classes": ("online", "rls", "elm", "transfer"),
    "activation": ("online",),
    "grow": ("online", "transfer"),
    "hidden": ("elm",),
    "start": ("online", "rls", "elm"),
    "start_weight": ("online", "rls", "elm"),
}
_BROUGHT: dict[Learner, tuple[str, ...]] = {
    "online": ("head",),
    "rls": ("head", "optimizer"),
    "elm": ("head", "optimizer"),
    "transfer": (),
}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def as_learner(options: Options) -> Options:
    """The options with those that the learner stands for. Raises UserError where they clash."""
    learner = options.get("learner")
    reconstructs = options.get("loss") in RECONSTRUCTIONS
    for name in ("threshold", "learn_flagged"):
        if options.get(name) and not reconstructs:
            raise UserError(
                f"{_option(name)} is of the error of --loss {_either(RECONSTRUCTIONS)}; give both"
            )
    if "fading" in options and not options.get("metrics"):
        raise UserError("--fading is of --metrics; give both")
    if reconstructs:
        return _reconstructing(options)
    if learner not in (None, *get_args(Learner)):
        raise UserError(f"learner {learner}: give {_either(get_args(Learner))}")
    for name, learners in _OF.items():
        if name in options and learner not in learners:
            raise UserError(f"{_option(name)} is for --learner {_either(learners)}")
    if options.get("optimizer", "rls" if learner in ("rls", "elm") else "sgd") != "rls":
        for name in ("ridge", "forgetting"):
            of_online = name == "forgetting" or "start" in options
            if name in options and not (learner == "online" and of_online):
                raise UserError(f"--{name} is for recursive least squares: --learner rls or elm")
    if learner is None:
        return options
    _check_outputs(options)
    if learner == "transfer":
        return _as_transfer(options)
    for name in _BROUGHT[learner]:
        if name in options:
            raise UserError(f"--learner {learner} brings its own {name}; leave --{name} away")
    if options.get("update", "last") != "last":
        raise UserError(f"--learner {learner} learns its own layer; leave --update away")
    if "start_weight" in options and "start" not in options:
        raise UserError("--start-weight is for --start: give both")
    if not options.get("start_weight", 1) > 0:
        raise UserError(f"--start-weight {options['start_weight']}: give more than 0")
    outputs = str(options.get("max_classes", options.get("classes", "*")))
    made: Options = {**options, "head": f"dense:{outputs}"}
    if learner == "elm":
        made["head"] = f"elm:{options.get('hidden', HIDDEN)},{outputs}"
    if learner == "online":
        if made.get("optimizer") == "rls":
            raise UserError("--learner online learns by gradients; --learner rls by least squares")
        _activate(made)
    else:
        made["optimizer"] = "rls"
        made.setdefault("loss", "one-hot")
    if made.get("loss") != "mse":
        made.setdefault("unlabelled", True)
        if "max_classes" in made:
            made.setdefault("labels", ())
    return made


def _check_outputs(options: Options) -> None:
    """Raises UserError where the numbers of outputs and units clash, or what they begin with."""
    for name in ("classes", "max_classes", "hidden"):
        if options.get(name, 1) < 1:  # type: ignore[operator]
            given = options[name]
            raise UserError(f"{_option(name)} {given}: give at least 1")
    if "classes" in options and "max_classes" in options:
        raise UserError("--classes and --max-classes both say how many outputs; give one of them")
    if options.get("grow"):
        if "max_classes" not in options:
            raise UserError("--grow leaves outputs free for new labels; give --max-classes N too")
        for name in ("start", "tap", "cut", "activation"):
            if name in options:
                raise UserError(f"--grow begins with the model's last layer; leave --{name} away")


def _activate(made: Options) -> None:
    """Settle what is behind the layer of "online", and which cross-entropy that makes."""
    loss, activation = made.get("loss", "cross-entropy"), made.get("activation")
    if loss == "binary-cross-entropy" or (loss, activation) == ("cross-entropy", "sigmoid"):
        if activation == "linear":
            raise UserError(f"--loss {loss} is of sigmoid outputs; leave --activation away")
        if made.get("grow"):
            raise UserError(f"--grow begins with the model's last layer; it is not for loss {loss}")
        made["loss"], made["activation"] = "binary-cross-entropy", "sigmoid"
    elif loss == "cross-entropy" and activation:
        raise UserError("--activation linear is for --loss one-hot; cross-entropy is of a softmax")
    if "start" in made and made.get("activation") == "sigmoid" and made["loss"] == "one-hot":
        raise UserError(
            "--start fits linear outputs, or cross-entropy, and not the squared error of sigmoids; "
            "leave --start away, or take --loss cross-entropy"
        )


def _reconstructing(options: Options) -> Options:
    """An autoencoder learns with layers of its own, so `learner` "online" adds nothing."""
    loss = options["loss"]
    if options.get("learner", "online") != "online":
        raise UserError(f"--loss {loss} is for --learner online, or for none")
    for name in (*_OF, *(("ridge",) if options.get("optimizer") != "rls" else ()), "metrics"):
        if name in options and name != "start":
            raise UserError(f"--loss {loss} has no classes; leave {_option(name)} away")
    made: Options = {**options}
    made.pop("learner", None)
    return made


def _either(words: Sequence[str]) -> str:
    return " or ".join(", ".join(words).rsplit(", ", 1))


def _as_transfer(options: Options) -> Options:
    """A head behind frozen layers, which learns from a cache of their features."""
    if options.get("update", "last") != "last":
        raise UserError("--learner transfer learns its head; leave --update away")
    for name in ("classes", "max_classes"):
        if name in options and "head" in options:
            raise UserError(f"--head says how many classes there are; leave {_option(name)} away")
    if options.get("cache", 1) < 1:
        raise UserError(f"--cache {options['cache']}: --learner transfer keeps at least 1 sample")
    made: Options = {"optimizer": "momentum", "batch": BATCH, "cache": CACHE, **options}
    if any(name in options for name in ("classes", "max_classes", "cut", "tap")):
        outputs = options.get("max_classes", options.get("classes", "*"))
        made.setdefault("head", f"dense:{outputs}")
    if "max_classes" in options:
        made.setdefault("labels", ())
    if made.get("loss") != "mse":
        made.setdefault("unlabelled", True)
    if "head" in made and made["optimizer"] in ("sgd", "momentum"):
        made.setdefault("weight_decay", WEIGHT_DECAY)
    made.setdefault("replay", made["batch"])
    return made
