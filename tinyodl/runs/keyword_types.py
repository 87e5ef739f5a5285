"""The options of `Session.train`, for type checkers; `keyword_types_source` writes this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from tinyodl.runs.options import Keep, Order
    from tinyodl.runs.record import Radio


class RunKeywords(TypedDict, total=False):
    """How a run learns. Each has the default of the command line's flag."""

    # Passes over the samples. [default: 1]
    epochs: int

    # End each epoch after N samples.
    limit: int | None

    # Another order each epoch, from this seed; without it, as in the file.
    shuffle: int | None

    # Learning rate; the compiled one if not given.
    learning_rate: float | None

    # Where the project keeps a cache: how the epochs after the first draw from it, all of it in
    # turn, or with replacement any sample or any class with the same chance. [default: epochs]
    draw: Order

    # Begin with the weights of the ONNX file, not with those the board has.
    reset: bool

    # A run-time setting of the firmware, e.g. error_budget=0.05; it stays until the board restarts.
    # Repeat it for several.
    settings: Mapping[str, float]

    # Send labels only where the board wants them; compile with --query.
    query: bool

    # With --query: labels are what this network says, not y.
    teacher: str | Path | None

    # With --query: never answer.
    silent: bool

    # With a project of --update device: what learns. host: what is best for the data, found in this
    # process; or as a plan file says of its layers. Without it, as before.
    select: str | Path | None

    # Learn from samples far outside those before too, in this run.
    keep_outliers: bool

    # Which weights to save at the end. A run that did harm (clearly less accuracy on --eval, or a
    # loss that ran away) ends with exit code 1, and the board goes back to the weights of before;
    # always: it saves them all the same. [default: unharmed]
    save: Keep

    # Save on the board at the beginning and after every N samples, so that a board that loses its
    # power goes on from there. Each save erases a slot of flash, rated for 10,000 erases.
    save_every: int | None

    # Go on with the run in this folder, which was cut off: from its last save, or from its
    # beginning. Give the data and options that it began with.
    resume: str | Path | None

    # The radio to compare the run with; by default the board's.
    radio: Radio | None
