"""How a run learns: options of `tinyodl stream-train` and `Session.train`, declared once.

From `RunOptions` come the flags, the defaults, the explanations, and the keywords with their types
(`keyword_types`, written by `keyword_types_source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tinyodl.errors import UserError
from tinyodl.project.option import Option

if TYPE_CHECKING:
    from tinyodl.runs.record import Radio

Order = Literal["epochs", "uniform", "balanced"]  # of the samples drawn from a cache
Keep = Literal["unharmed", "always"]  # which weights a run may save at its end


def _told(help: str, **more: object) -> Mapping[str, object]:
    """A field's declaration: its text, and other fields of `Option`."""
    return {"help": help, **more}


@dataclass(frozen=True)
class RunOptions:
    """The options of a run; the text beside each says what it does.

    `settings` has values by the name of a run-time setting, `radio` what to compare the run with.
    Raises UserError for a value out of its range.
    """

    epochs: int = field(default=1, metadata=_told("Passes over the samples."))
    limit: int | None = field(
        default=None, metadata=_told("End each epoch after N samples.", metavar="N")
    )
    shuffle: int | None = field(
        default=None,
        metadata=_told(
            "Another order each epoch, from this seed; without it, as in the file.", metavar="SEED"
        ),
    )
    learning_rate: float | None = field(
        default=None, metadata=_told("Learning rate; the compiled one if not given.", flag="--lr")
    )
    draw: Order = field(
        default="epochs",
        metadata=_told(
            "Where the project keeps a cache: how the epochs after the first draw from it, all "
            "of it in turn, or with replacement any sample or any class with the same chance."
        ),
    )
    reset: bool = field(
        default=False,
        metadata=_told("Begin with the weights of the ONNX file, not with those the board has."),
    )
    settings: Mapping[str, float] = field(
        default_factory=dict,
        metadata=_told(
            "A run-time setting of the firmware, e.g. error_budget=0.05; it stays until the "
            "board restarts. Repeat it for several.",
            flag="--set",
            metavar="NAME=VALUE",
            several=True,
        ),
    )
    query: bool = field(
        default=False,
        metadata=_told("Send labels only where the board wants them; compile with --query."),
    )
    teacher: str | Path | None = field(
        default=None,
        metadata=_told(
            "With --query: labels are what this network says, not y.", metavar="BIG.onnx"
        ),
    )
    silent: bool = field(default=False, metadata=_told("With --query: never answer."))
    select: str | Path | None = field(
        default=None,
        metadata=_told(
            "With a project of --update device: what learns. host: what is best for the data, "
            "found in this process; or as a plan file says of its layers. Without it, as before.",
            metavar="host|PLAN.toml",
        ),
    )
    keep_outliers: bool = field(
        default=False,
        metadata=_told("Learn from samples far outside those before too, in this run."),
    )
    save: Keep = field(
        default="unharmed",
        metadata=_told(
            "Which weights to save at the end. A run that did harm (clearly less accuracy on "
            "--eval, or a loss that ran away) ends with exit code 1, and the board goes back to"
            " the weights of before; always: it saves them all the same."
        ),
    )
    save_every: int | None = field(
        default=None,
        metadata=_told(
            "Save on the board at the beginning and after every N samples, so that a board that"
            " loses its power goes on from there. Each save erases a slot of flash, rated for "
            "10,000 erases.",
            metavar="N",
        ),
    )
    resume: str | Path | None = field(
        default=None,
        metadata=_told(
            "Go on with the run in this folder, which was cut off: from its last save, or from "
            "its beginning. Give the data and options that it began with.",
            metavar="RUNDIR",
        ),
    )
    radio: Radio | None = field(
        default=None,
        metadata=_told("The radio to compare the run with; by default the board's.", flag=""),
    )

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "limit": self.limit, "save_every": self.save_every}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}, needed is at least 1")
        for name, words in {"draw": Order, "save": Keep}.items():
            if getattr(self, name) not in get_args(words):
                value = getattr(self, name)
                raise UserError(f"{name} is {value!r}: give {', '.join(get_args(words))}")
        if self.shuffle is not None and self.shuffle < 0:
            raise UserError(f"shuffle is {self.shuffle}, a seed is not negative")


_KINDS = {
    "int": int,
    "float": float,
    "bool": bool,
    "str | Path": Path,
    "Order": Order,
    "Keep": Keep,
}


def _declared(one: Field[Any]) -> Option:
    kind = _KINDS.get(str(one.type).removesuffix(" | None"), str)
    default = one.default if isinstance(one.default, int | str) else None
    gives = True if kind is bool else None
    return Option(one.name, kind=kind, default=default, gives=gives, **one.metadata)


RUN_OPTIONS: Mapping[str, Option] = {one.name: _declared(one) for one in fields(RunOptions)}
