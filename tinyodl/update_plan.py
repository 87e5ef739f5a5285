"""`UpdatePlan`: what learns and how, as data that a user can read, edit and pass back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinyodl.errors import UserError

Updates = Literal["none", "bias", "weights"]
Loss = Literal["cross-entropy", "mse"]
Optimizer = Literal["sgd", "momentum", "adam"]


class UpdatePlan(BaseModel):
    """Which layers learn (by ONNX node name; a layer not named is frozen), and the training rule.

    "weights" updates a layer's weight and bias, "bias" its bias alone. `seed` seeds whatever the
    device draws by itself. `momentum`, `beta1`, `beta2` and `epsilon` are PyTorch's, with the same
    defaults, and its update rules.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: dict[str, Updates] = {}
    loss: Loss = "cross-entropy"
    optimizer: Optimizer = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    batch: int = Field(default=1, ge=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    seed: int = 0

    def learns(self, layer: str) -> bool:
        """Whether the layer of that name learns anything."""
        return self.layers.get(layer, "none") != "none"


def load_plan(path: Path) -> UpdatePlan:
    """Read a plan file (TOML). Raises UserError naming the file and the field at fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; give --update last, bias, full, none or a plan file"
        ) from error
    try:
        return UpdatePlan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from error


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
    lines += [f"seed = {plan.seed}", "", "[layers]"]
    lines += [f'{_quoted(name)} = "{updates}"' for name, updates in plan.layers.items()]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
