"""`UpdatePlan`: which layers learn and how, as data for a user to read, edit and pass back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tinyodl.learning.beside import sections
from tinyodl.learning.beside.section import Section
from tinyodl.learning.learners import either, optimizers, rule_of
from tinyodl.project.layer_update import LayerUpdate

Loss = Literal[
    "cross-entropy",
    "binary-cross-entropy",
    "one-hot",
    "zero-one",
    "mse",
    "reconstruction",
    "reconstruction-cross-entropy",
]
LABELLED = (
    "cross-entropy",
    "binary-cross-entropy",
    "one-hot",
    "zero-one",
)  # losses of class labels
RECONSTRUCTIONS = ("reconstruction", "reconstruction-cross-entropy")  # losses of autoencoders
Master = Literal["none", "int16", "float32"]
Bound = Literal["on", "normalised", "off"]
Outliers = Literal["skip", "keep"]

LEAST_Z = 2.0  # standard deviations: the mean of the errors below this is about the mean of all
RIDGE = 0.01  # of the mean |x|^2

_each: dict[str, Any] = {name: (section | None, None) for name, section in sections().items()}
_Sections = create_model("_Sections", __config__=ConfigDict(extra="forbid"), **_each)


def _fields(section: object) -> object:
    """The fields of a section, to validate it again; anything else as it is."""
    return section.model_dump() if isinstance(section, Section) else section


def in_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `UpdatePlan`, from its own fields, options, or a plan file's sections.

    Raises pydantic's ValidationError, located at the option's name, if an option of a section has
    a wrong form, and ValueError if its section is off.
    """
    fields = dict(given)
    rule = fields.pop("rule", {})
    beside = dict(fields.pop("beside", {}))
    for name, section in sections().items():
        if isinstance(fields.get(name), Mapping):
            beside[name] = fields.pop(name)
        options = {o.name: fields.pop(o.name) for o in section.OPTIONS if o.name in fields}
        filled = _filled(section, options, beside.get(name))
        if filled is not None:
            beside[name] = filled
    return {**fields, **(rule if isinstance(rule, Mapping) else {"rule": rule}), "beside": beside}


def _filled(section: type[Section], options: Mapping[str, Any], there: object) -> object:
    """The fields of a section, completed from the options; None if the section is off."""
    made = dict(there) if isinstance(there, Mapping) else there
    for option in section.OPTIONS:
        value = options.get(option.name)
        if value is None:
            continue
        if option.fills:
            try:
                fields = option.fills(value)
            except ValueError as error:
                raise _refused(option.name, value, str(error)) from None
            if fields is not None:
                made = {**(made if isinstance(made, dict) else {}), **fields}
        elif isinstance(made, dict):
            made[option.field] = value
        elif value != section.model_fields[option.field].default:
            turns_on = section.OPTIONS[0]
            needed = f"{turns_on.on_the_line} {turns_on.metavar}".rstrip()
            raise ValueError(f"{option.name} needs {section.CALLED}: give {needed}")
    return made


def _refused(name: str, value: object, why: str) -> ValidationError:
    fault = InitErrorDetails(type=PydanticCustomError("form", why), loc=(name,), input=value)
    return ValidationError.from_exception_data("UpdatePlan", [fault])


class UpdatePlan(BaseModel):
    """Which layers learn (by ONNX node name; a layer not named is frozen), and the training rule.

    "weights" updates a layer's weight and bias, "bias" its bias alone, a `ChannelUpdate` its bias
    and the weights of some channels. "statistics" lets the mean and the variance of a
    BatchNormalization of one row follow the samples. It has seen `seen` samples already, and
    forgets by the factor `forgetting` a sample. `seed` seeds all random numbers of the device.
    `momentum`, `beta1`, `beta2` and `epsilon` are PyTorch's, with the same defaults and the same
    update rules.

    Losses: "cross-entropy" is the softmax cross-entropy of a class label. "binary-cross-entropy" is
    for a final Sigmoid: the mean over its outputs, against the label as a one-hot vector.
    "one-hot" is the mean squared error against this vector, "mse" the mean squared error against a
    target sent with the sample.

    "rls" is recursive least squares, for one dense layer at the end of the network and a squared
    loss. It has no rate. `ridge` says how sure it is of its zero weights at the beginning: as sure
    as after `ridge` samples of the size of the first one. It forgets by the factor `forgetting` a
    sample (1: never).

    With `unlabelled` the label -1 may be sent: such a sample is predicted and counts in statistics,
    and the weights learn nothing. `labels` are the labels of the first outputs. The other outputs
    are free: a new label takes the next free one when the device first learns it. Without `labels`
    the outputs stand for the labels 0, 1, 2, ...

    An autoencoder has the loss "reconstruction", the mean squared error against the sample itself,
    or, for samples from 0 to 1 and a final Sigmoid, "reconstruction-cross-entropy", the binary
    cross-entropy. A sample with an error above `threshold` counts as an anomaly. Samples labelled 1
    (anomaly) are not learned, nor are unlabelled ones above the threshold unless `learn_flagged`.
    "gaussian:Z" is the mean of the errors plus Z standard deviations, "percentile:P" the P-th
    percentile of the errors, "fixed:T" is T.
    `weight_decay` is PyTorch's: this share of each parameter is added to its gradient.

    `batch` is the number of samples for one update, when the device updates by itself.

    For int8 layers: `master` is kept with each int8 weight that learns, so that small steps add up:
    nothing, 8 bits below the integer ("int16": the two together), or a float32. `scaling` is
    quantisation-aware scaling (Lin et al. 2022): steps are as large as for the real weights.

    `bound` "on" shortens a step of gradient descent if it reaches too far for its sample, and
    leaves all others unchanged; "normalised" divides every step by its reach (see
    `tinyodl.learning.bound`).

    `beside` has a section for each feature that is on, by name (`tinyodl.learning.beside`).

    "candidate" layers learn the output channels that the host names while the board runs; `pool` is
    the number of weights that they may have in all, `pool_inputs` the number of elements of their
    inputs that a step may keep (`tinyodl.learning.candidates`).

    `outliers` "skip": a sample far outside all earlier ones is predicted and not learned; "keep"
    learns from every sample. See `tinyodl.learning.outliers`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: dict[str, LayerUpdate] = {}
    loss: Loss = "cross-entropy"
    optimizer: str = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    batch: int = Field(default=1, ge=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    ridge: float = Field(default=RIDGE, gt=0)
    forgetting: float = Field(default=1.0, gt=0, le=1)
    seen: int = Field(default=0, ge=0, le=1 << 24)
    unlabelled: bool = False
    threshold: str = "gaussian:3"
    learn_flagged: bool = False
    labels: tuple[Annotated[int, Field(ge=0, lt=1 << 31)], ...] | None = None
    weight_decay: float = Field(default=0.0, ge=0)
    master: Master = "int16"
    scaling: bool = True
    bound: Bound = "on"
    seed: int = 0
    outliers: Outliers = "skip"
    pool: int = Field(default=0, ge=0)
    pool_inputs: int = Field(default=0, ge=0)
    beside: Mapping[str, SerializeAsAny[Section]] = {}

    @property
    def reconstructs(self) -> bool:
        """Whether the target is the sample itself."""
        return self.loss in RECONSTRUCTIONS

    def is_binary(self, outputs: int) -> bool:
        """Whether a network of so many outputs tells two classes apart by a single one."""
        return outputs == 1 and self.loss == "binary-cross-entropy" and self.labels is None

    def classes(self, outputs: int) -> int | None:
        """How many labels a network of so many outputs tells apart; None for loss mse."""
        if self.reconstructs or self.is_binary(outputs):
            return 2
        return outputs if self.loss in LABELLED else None

    @model_validator(mode="before")
    @classmethod
    def _in_sections(cls, given: Any) -> Any:
        """Puts options, or the sections of a plan file, into fields."""
        return in_fields(given) if isinstance(given, Mapping) else given

    @field_validator("beside", mode="before")
    @classmethod
    def _sections(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        made = _Sections.model_validate({name: _fields(value) for name, value in given.items()})
        return {name: section for name, section in made if section is not None}

    @field_validator("optimizer")
    @classmethod
    def _known(cls, optimizer: str) -> str:
        if optimizer not in optimizers():
            raise ValueError(f"give {either(optimizers())}")
        return optimizer

    @model_validator(mode="after")
    def _fits_rule(self) -> Self:
        misfit = rule_of(self).misfit(self)
        if misfit:
            raise ValueError(misfit)
        return self

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.loss not in LABELLED and (self.unlabelled or self.labels is not None):
            raise ValueError(f"loss {self.loss} has no labels: leave unlabelled and labels away")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels has one of them twice")
        return self

    @model_validator(mode="after")
    def _thresholded(self) -> Self:
        kind, value = self.threshold_rule
        if kind not in ("gaussian", "percentile", "fixed") or not value >= 0:
            raise ValueError(
                "threshold is gaussian:Z, percentile:P or fixed:T, of a number above 0"
            )
        if kind == "percentile" and value > 100:
            raise ValueError(f"threshold percentile:{value:g}: give at most 100")
        if kind == "gaussian" and value < LEAST_Z and self.reconstructs and not self.learn_flagged:
            raise ValueError(
                f"threshold gaussian:{value:g} would fall without end, as what is above it is not "
                f"learned; give at least {LEAST_Z:g}, percentile:P, or --learn-flagged"
            )
        return self

    @property
    def threshold_rule(self) -> tuple[str, float]:
        """The kind of threshold and its number; the number is negative if none is given."""
        kind, _, number = self.threshold.partition(":")
        try:
            return kind, float(number)
        except ValueError:
            return kind, -1.0

    @property
    def may_be_unlabelled(self) -> bool:
        """Whether the label -1 may be sent."""
        return self.unlabelled or self.reconstructs

    @model_validator(mode="after")
    def _beside(self) -> Self:
        for section in self.beside.values():
            section.check(self)
        return self

    @model_validator(mode="after")
    def _decayed(self) -> Self:
        if self.weight_decay and self.optimizer == "adam":
            raise ValueError("weight_decay is for optimizer sgd and momentum")
        return self

    @property
    def samples_a_step(self) -> int:
        """The number of samples in the update of one step: the new one and those from the cache."""
        return max((section.samples_a_step for section in self.beside.values()), default=1)

    @property
    def summed(self) -> bool:
        """Whether an update takes the gradients of several samples."""
        return self.batch > 1 or self.samples_a_step > 1

    def learns(self, layer: str) -> bool:
        """Whether the layer of that name learns anything."""
        return self.layers.get(layer, "none") != "none"
