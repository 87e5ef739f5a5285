"""The losses that fit the output of a network, and the label or target each of them needs.

    cross-entropy, one-hot          an output (1, N) of N >= 2 scores; label 0 to N - 1
    binary-cross-entropy            the same with N sigmoids; or one output, a probability or its
                                    logit; label 0 or 1
    mse                             any output; a target of its shape
    reconstruction and its
    cross-entropy                   an output of as many values as the input; no label is needed

Scores may also be (1, N, 1, 1), as a convolution leaves them.
"""

from __future__ import annotations

from math import prod

from tinyodl.errors import UserError
from tinyodl.graph import Graph, of_one_sample
from tinyodl.learning.logits import ends_in_sigmoid
from tinyodl.project.manifest import Manifest
from tinyodl.project.plan import LABELLED, Loss, UpdatePlan

_OF_SCORES = ("cross-entropy", "one-hot", "zero-one")  # these need two outputs or more


def with_fitting_loss(plan: UpdatePlan, graph: Graph) -> UpdatePlan:
    """The plan with a loss that fits the network's output.

    Where the plan names none, a single output behind a Sigmoid takes binary cross-entropy.
    Raises UserError, with the losses that fit, if the plan's does not.
    """
    shape = graph.shape(graph.outputs[0])
    if "loss" not in plan.model_fields_set and _is_probability(graph):
        plan = plan.model_copy(update={"loss": "binary-cross-entropy"})
    if plan.loss in LABELLED and not _fits_labels(plan, shape):
        raise UserError(_misfit(plan, graph))
    if plan.is_binary(prod(shape)):
        _check_binary(plan)
    return plan


def expected_labels(manifest: Manifest) -> str:
    """A sentence on the label or target that comes with each learned sample."""
    plan, shape = manifest.plan, manifest.model.output_shape
    outputs = prod(shape)
    none = ", or -1 for none" if plan.may_be_unlabelled else ""
    if plan.loss == "mse":
        sizes = " x ".join(map(str, of_one_sample(shape))) or "1"
        numbers = "number" if outputs == 1 else "numbers"
        return f"Each sample comes with a target of {sizes} {numbers}."
    if plan.reconstructs:
        return "The target is the sample itself; labels are 0 normal, 1 an anomaly, -1 not known."
    if plan.labels is not None:
        return f"Labels are any numbers from 0, at most {outputs} different ones{none}."
    if plan.is_binary(outputs):
        at = "0.5" if manifest.model.output_is_probability else "0, of the logit"
        return f"Labels are 0 and 1{none}; 1 is predicted where the output is above {at}."
    return f"Labels are class numbers, 0 to {outputs - 1}{none}."


def _is_probability(graph: Graph) -> bool:
    return graph.tensor(graph.outputs[0]).size == 1 and ends_in_sigmoid(graph)


def _are_scores(shape: tuple[int, ...]) -> bool:
    """Whether an output is one row of scores."""
    return len(shape) in (2, 4) and prod(shape) == shape[1]


def _fits_labels(plan: UpdatePlan, shape: tuple[int, ...]) -> bool:
    if prod(shape) == 1:
        return plan.is_binary(1)
    return _are_scores(shape)


def _misfit(plan: UpdatePlan, graph: Graph) -> str:
    name = graph.outputs[0]
    output = graph.tensor(name)
    shape = "(" + ", ".join(map(str, output.shape)) + ")"
    fitting: list[tuple[Loss, str]] = [("mse", "a target of that shape with each sample")]
    if output.size == 1:
        what = "one value"
        fitting.insert(0, ("binary-cross-entropy", "labels 0 and 1; the value is their logit"))
        if ends_in_sigmoid(graph):
            fitting[0] = ("binary-cross-entropy", "labels 0 and 1")
    else:
        what = f"{output.size} values that are no row of scores"
    inputs = [graph.tensor(given) for given in graph.inputs]
    if [given.size for given in inputs] == [output.size]:
        fitting.append(("reconstruction", "of an autoencoder"))
    named = "; ".join(f"--loss {loss} ({expects})" for loss, expects in fitting)
    more = ""
    if plan.labels is not None or output.size == 1:
        more = ". A layer of two outputs or more: --learner rls, online or transfer, --classes 2"
    return (
        f"loss {plan.loss} needs an output of shape (1, N) with N of at least 2, and "
        f"{name!r} is {shape}, {what}. These fit: {named}{more}"
    )


def _check_binary(plan: UpdatePlan) -> None:
    """Raises UserError where something looks at scores of classes, and there is one output."""
    for section in plan.beside.values():
        if section.COMPARES_CLASSES:
            raise UserError(
                f"{section.OPTIONS[0].on_the_line} compares the scores of classes, and this "
                "network has one output; leave it away, or learn a layer of two outputs "
                "(--learner rls --classes 2)"
            )
