"""`UpdatePlan`: what learns and how, as data that a user can read, edit and pass back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from tinyodl.errors import UserError
from tinyodl.learning.learners import either, optimizers, rule_of
from tinyodl.text import toml_string

Updates = Literal["none", "bias", "weights", "statistics"]
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
CachePolicy = Literal["ring", "reservoir", "balanced", "first", "ageing"]
Memory = Literal["ram", "flash"]
Bound = Literal["on", "normalised", "off"]
Outliers = Literal["skip", "keep"]

LEAST_Z = 2.0  # standard deviations that leave the mean of what is below them about where it is
RIDGE = 0.01  # of the mean |x|^2
MOST_REPLAYED = 256  # samples in the update of a step
QUERY = r"auto|always|margin:(\d+(?:\.\d*)?|\.\d+)"
GUARD = r"([1-9]\d{0,4})(?::(0?\.\d+|[01](?:\.0*)?))?"

Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Channels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class ChannelUpdate(BaseModel):
    """A layer of which only some channels learn their weights, and all their bias.

    Either `inputs` or `outputs`: the numbers of channels of the layer's input or output, or the
    share of them that learns, from above 0 to 1; which those are is then chosen by magnitude.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Share | Channels | None = None
    outputs: Share | Channels | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.inputs is None) == (self.outputs is None):
            raise ValueError("give either inputs or outputs: a share or a list of channels")
        return self

    @property
    def side(self) -> Literal["inputs", "outputs"]:
        """Which channels are meant."""
        return "outputs" if self.inputs is None else "inputs"

    @property
    def chosen(self) -> float | tuple[int, ...]:
        """The share or the channels of that side."""
        return self.inputs or self.outputs or ()


def _form(value: object) -> str:
    """How an update is written: errors then speak of that form alone."""
    return "word" if isinstance(value, str) else "channels"


LayerUpdate = Annotated[
    Annotated[Updates, Tag("word")] | Annotated[ChannelUpdate, Tag("channels")],
    Discriminator(_form),
]


class UpdatePlan(BaseModel):
    """Which layers learn (by ONNX node name; a layer not named is frozen), and the training rule.

    "weights" updates a layer's weight and bias, "bias" its bias alone, a `ChannelUpdate` its bias
    and the weights of some channels. "statistics" lets the mean and the variance of a
    BatchNormalization of one row follow the samples, of which it has seen `seen` already, and
    forget by the factor `forgetting` a sample. `seed` seeds whatever the device draws by itself.
    `momentum`, `beta1`, `beta2` and `epsilon` are PyTorch's, with the same defaults, and its update
    rules.

    Losses: "cross-entropy" of a class label by softmax; "binary-cross-entropy", the mean of that of
    each output of a final Sigmoid against the label as a vector of one 1; "one-hot", the mean
    squared error against that vector; and "mse", that against a target which is sent with the
    sample.

    "rls" is recursive least squares, for one dense layer at the end of the network and a squared
    loss: it has no rate. It begins as sure of zero weights as `ridge` samples would make it, of the
    size of the first one, and forgets by the factor `forgetting` a sample (1: never).

    With `unlabelled` the label -1 may be sent: such a sample is predicted and counts in statistics,
    and the weights learn nothing. `labels` are those that the first outputs stand for; the others
    are free, and a label that has none takes the next of them when the device is to learn it.
    Without `labels` the outputs stand for the labels 0, 1, 2, ...

    "reconstruction" is the mean squared error against the sample itself, of an autoencoder, and
    "reconstruction-cross-entropy" the binary cross-entropy of one that ends in Sigmoid, for samples
    from 0 to 1: what is above a `threshold` is an anomaly, and what is labelled 1, an anomaly, is
    not learned. Nor is what is above the threshold and has no label, unless `learn_flagged`.
    "gaussian:Z" is the mean of the errors and Z standard deviations, "percentile:P" what P % of
    them are below, "fixed:T" is T. With `metrics` the device counts its predictions of classes by
    label, and the share of right ones, of which each counts `fading` times less with the next.
    `weight_decay` is PyTorch's: that much of each parameter is added to its gradient.

    `cache` is of how many samples the features are kept that the layers which learn read, to learn
    from them again; `cache_policy` says which of them make room when it is full ("ageing", and in
    flash "balanced", where nothing is said). With a cache, a
    training step learns from `replay` samples at once: the one that came, and others drawn from
    the cache, every class as often; with 0 it only keeps it. `cache_memory` "flash" writes each
    sample once. `batch` is how many samples an update
    takes that the device makes from its cache by itself.

    For int8 layers: `master` is what is kept beside each int8 weight that learns, so that small
    steps add up: nothing, 8 bits below the integer ("int16": the two together), or a float32.
    `scaling` is quantisation-aware scaling (Lin et al. 2022): steps are those of the real weights.

    `bound` "on" makes a step of gradient descent smaller that reaches too far for its sample, and
    leaves all others as they are; "normalised" divides every step by its reach (`tinyodl.bound`).

    Beside what learns: `query` is when the board wants a label ("auto", "always", "margin:T"), and
    `error_budget` the share of its unchecked answers that "auto" lets be wrong; `drift` watches for
    samples that are other than those learned; `guard` ("K" or "K:MARGIN") holds every K-th labelled
    sample back, and undoes what makes the network worse on those by more than the margin;
    `guard_memory` is where it keeps the best parameters.

    `outliers` "skip": a sample far outside those before is predicted and not learned; "keep" learns
    from every sample. See `tinyodl.outliers`.
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
    metrics: bool = False
    fading: float = Field(default=0.99, gt=0, le=1)
    threshold: str = "gaussian:3"
    learn_flagged: bool = False
    labels: tuple[Annotated[int, Field(ge=0, lt=1 << 31)], ...] | None = None
    weight_decay: float = Field(default=0.0, ge=0)
    cache: int = Field(default=0, ge=0, le=32767)
    cache_policy: CachePolicy = "ageing"
    cache_memory: Memory = "ram"
    replay: int = Field(default=1, ge=0, le=MOST_REPLAYED)
    master: Master = "int16"
    scaling: bool = True
    bound: Bound = "on"
    seed: int = 0
    query: str | None = Field(default=None, pattern=f"^(?:{QUERY})$")
    error_budget: float = Field(default=0.01, gt=0, lt=1)
    drift: bool = False
    guard: str | None = Field(default=None, pattern=f"^(?:{GUARD})$")
    guard_memory: Memory = "ram"
    outliers: Outliers = "skip"

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

    @property
    def watches(self) -> bool:
        """Whether anything beside the learning itself is computed."""
        return bool(self.query or self.drift or self.guard)

    @model_validator(mode="before")
    @classmethod
    def _in_flash(cls, given: Any) -> Any:
        """A cache in flash, where nothing can be written over, is "balanced" by default."""
        if isinstance(given, dict) and given.get("cache_memory") == "flash":
            return {"cache_policy": "balanced", **given}
        return given

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
        if self.watches and self.loss == "mse":
            raise ValueError("query, drift and guard are for class labels: not for loss mse")
        if (self.query or self.guard) and self.reconstructs:
            raise ValueError(f"query and guard are for class labels: not for loss {self.loss}")
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
        """The kind of threshold and its number, which is negative where there is none."""
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
    def _cached(self) -> Self:
        if self.cache and (self.loss == "mse" or rule_of(self).replaces):
            what = "loss mse" if self.loss == "mse" else f"optimizer {self.optimizer}"
            raise ValueError(f"a cache keeps samples with labels for gradients: not for {what}")
        if self.replay != 1 and not self.cache:
            raise ValueError("replay needs a cache to draw from: give --cache N")
        if self.cache_memory == "flash" and not self.cache:
            raise ValueError("cache_memory says where a cache is: give --cache N")
        if self.guard_memory == "flash" and not self.guard:
            raise ValueError("guard_memory says where a guard keeps its copy: give --guard K")
        if self.cache_memory == "flash" and self.cache_policy not in ("balanced", "first"):
            raise ValueError(
                f"in flash nothing is written over, as cache_policy {self.cache_policy} would; "
                "take balanced or first"
            )
        others = {
            f"loss {self.loss}": self.reconstructs,
            "statistics that follow the samples": "statistics" in self.layers.values(),
        }
        for what, wanted in others.items():
            if self.cache and wanted:
                raise ValueError(f"a cache is not there together with {what}")
        if self.cache and self.cache_memory == "flash" and self.labels is not None:
            raise ValueError(
                "in flash a cache would outlive the table of labels as they come (--max-classes); "
                "keep it in RAM"
            )
        if self.weight_decay and self.optimizer == "adam":
            raise ValueError("weight_decay is for optimizer sgd and momentum")
        return self

    @property
    def summed(self) -> bool:
        """Whether an update takes the gradients of several samples."""
        return self.batch > 1 or self.replay > 1

    def learns(self, layer: str) -> bool:
        """Whether the layer of that name learns anything."""
        return self.layers.get(layer, "none") != "none"


def load_plan(path: Path) -> UpdatePlan:
    """Read a plan file (TOML). Raises UserError naming the file and the field at fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"{path}: {reason}; give --update last, bias, full, none or a plan file"
        ) from error
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nesting beyond all measure
        raise UserError(f"{path}: not valid TOML: {error}") from error
    try:
        return UpdatePlan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {what_is_wrong(error)}") from error


_FORMS = {  # of a value that has to match a pattern
    "query": "auto, always or margin:T, such as margin:0.2",
    "guard": "a number of samples, with a margin if you like, such as 20 or 20:0.1",
}


def what_is_wrong(error: ValidationError) -> str:
    """Of the first fault in a plan's values: what is wrong, or what is wanted in its place."""
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] == "string_pattern_mismatch" and name in _FORMS:
        return f"give {_FORMS[name]}"
    return str(first["msg"])


def dump_plan(plan: UpdatePlan) -> str:
    """The plan as TOML, the same text for the same plan."""
    lines = [
        f'loss = "{plan.loss}"',
        f'optimizer = "{plan.optimizer}"',
        f"learning_rate = {plan.learning_rate!r}",
        f"batch = {plan.batch}",
    ]
    if plan.optimizer == "momentum":
        lines.append(f"momentum = {plan.momentum!r}")
    if plan.optimizer == "adam":
        lines += [
            f"beta1 = {plan.beta1!r}",
            f"beta2 = {plan.beta2!r}",
            f"epsilon = {plan.epsilon!r}",
        ]
    rule = rule_of(plan)
    if rule.fields:
        lines += [f"{name} = {getattr(plan, name)!r}" for name in rule.fields]
    elif "statistics" in plan.layers.values() or plan.reconstructs:
        lines += [f"forgetting = {plan.forgetting!r}"]
    if not rule.replaces:
        lines.append(f'bound = "{plan.bound}"')
    if plan.metrics:
        lines += ["metrics = true", f"fading = {plan.fading!r}"]
    if plan.reconstructs:
        lines += [f'threshold = "{plan.threshold}"']
        lines += [f"learn_flagged = {str(plan.learn_flagged).lower()}"]
    if plan.unlabelled:
        lines += ["unlabelled = true"]
    if plan.labels is not None:
        lines += [f"labels = {list(plan.labels)}"]
    if plan.seen:
        lines += [f"seen = {plan.seen}"]
    if plan.query:
        lines.append(f'query = "{plan.query}"')
    if plan.query == "auto":
        lines.append(f"error_budget = {plan.error_budget!r}")
    if plan.drift:
        lines.append("drift = true")
    if plan.guard:
        lines += [f'guard = "{plan.guard}"', f'guard_memory = "{plan.guard_memory}"']
    if plan.weight_decay:
        lines.append(f"weight_decay = {plan.weight_decay!r}")
    if plan.cache:
        lines.append(f"cache = {plan.cache}")
        lines += [f'cache_policy = "{plan.cache_policy}"', f"replay = {plan.replay}"]
        lines += [f'cache_memory = "{plan.cache_memory}"']
    if plan.outliers == "keep":
        lines.append('outliers = "keep"')
    lines += [f'master = "{plan.master}"', f"scaling = {str(plan.scaling).lower()}"]
    lines += [f"seed = {plan.seed}", "", "[layers]"]
    lines += [f"{toml_string(name)} = {_update(updates)}" for name, updates in plan.layers.items()]
    return "\n".join(lines) + "\n"


def _update(update: LayerUpdate) -> str:
    if isinstance(update, str):
        return f'"{update}"'
    chosen = update.chosen
    value = repr(chosen) if isinstance(chosen, float) else str(list(chosen))
    return f"{{ {update.side} = {value} }}"
