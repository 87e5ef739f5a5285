"""Completes a compilation's options with the options its `--learner` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.errors import UserError
from tinyodl.learning.learners import either, learner_named, learners, rule_named
from tinyodl.learning.learners.learner import Learner
from tinyodl.learning.learners.prototypes import with_prototypes
from tinyodl.project.plan import RECONSTRUCTIONS

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options


def as_learner(options: Options) -> Options:
    """The options completed with the learner's own. Raises UserError if they clash."""
    options = with_prototypes(options)
    reconstructs = options.get("loss") in RECONSTRUCTIONS
    for name in ("threshold", "learn_flagged"):
        if options.get(name) and not reconstructs:
            raise UserError(
                f"{_flag(name)} is of the error of --loss {either(RECONSTRUCTIONS)}; give both"
            )
    if "fading" in options and not options.get("metrics"):
        raise UserError("--fading is of --metrics; give both")
    learner = learner_named(options.get("learner"))
    if reconstructs:
        return _reconstructing(options, learner)
    _check_whose(options, learner)
    if learner.name:
        _check_outputs(options)
    for name in learner.brings:
        if name in options:
            raise UserError(f"--learner {learner.name} brings its own {name}; leave --{name} away")
    return learner.makes(options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _of_learners() -> tuple[str, ...]:
    """The options of some learners, but not of all."""
    return tuple(dict.fromkeys(name for each in learners() for name in each.takes))


def _check_whose(options: Options, learner: Learner) -> None:
    """Raises UserError if an option is given that belongs to other learners only."""
    rule = rule_named(options["optimizer"]) if "optimizer" in options else learner.rule
    for name in _of_learners():
        there = name in learner.takes and learner.needs.get(name, name) in options
        if name not in options or there or name in rule.fields:
            continue
        by_rule = [each for each in learners() if name in each.rule.fields]
        whose = by_rule or [each for each in learners() if name in each.takes]
        of = f"--learner {either(tuple(each.name for each in whose))}"
        called = tuple(dict.fromkeys(each.rule.called for each in by_rule))
        raise UserError(f"{_flag(name)} is for {', '.join(called) + ': ' if called else ''}{of}")


def _check_outputs(options: Options) -> None:
    """Raises UserError where the numbers of outputs and units clash, or what they begin with."""
    for name in ("classes", "max_classes", "hidden"):
        if options.get(name, 1) < 1:  # type: ignore[operator]
            given = options[name]
            raise UserError(f"{_flag(name)} {given}: give at least 1")
    if "classes" in options and "max_classes" in options:
        raise UserError("--classes and --max-classes both say how many outputs; give one of them")
    if options.get("grow"):
        if "max_classes" not in options:
            raise UserError("--grow leaves outputs free for new labels; give --max-classes N too")
        for name in ("start", "tap", "cut", "activation"):
            if name in options:
                raise UserError(f"--grow begins with the model's last layer; leave --{name} away")


def _reconstructing(options: Options, learner: Learner) -> Options:
    """An autoencoder learns with layers of its own, so a learner adds nothing."""
    loss = options["loss"]
    if not learner.reconstructs:
        able = tuple(each.name for each in learners() if each.reconstructs and each.name)
        raise UserError(f"--loss {loss} is for --learner {either(able)}, or for none")
    rule = rule_named(options.get("optimizer", "sgd"))
    kept = {"start", "forgetting", *rule.fields}
    for name in (*(each for each in _of_learners() if each not in kept), "metrics"):
        if name in options:
            raise UserError(f"--loss {loss} has no classes; leave {_flag(name)} away")
    made: Options = {**options}
    made.pop("learner", None)
    return made
