"""The records in the log of a run: data, checked when it is read. See `tinyodl.runs.log`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tinyodl.device.codes import Flag, State
from tinyodl.runs.metrics import Metrics
from tinyodl.runs.options import Keep, Order
from tinyodl.text import stored

FORMAT = 1
PHASES = ("forward", "backward", "update")

Status = Literal["running", "done", "harmed", "interrupted", "failed"]
EventName = Literal["drift", "returned", "outlier", "saved", "reconnected", "restarted", "resumed"]


# The name of a file or a device; on some systems it may be bytes that are no text.
Name = Annotated[str, BeforeValidator(lambda name: stored(name) if isinstance(name, str) else name)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(Record):
    """A pass over samples without learning. `confusion[label][predicted]` counts samples.

    For loss mse there are no classes: accuracy and confusion are None. `labels` are the labels of
    the rows and columns, if not 0, 1, 2, ... Samples without a label count in `samples` only, and
    the loss is the mean over samples with a label known to the network.
    """

    samples: int
    loss: float | None  # mean over the samples; None when it is not a finite number
    accuracy: float | None
    confusion: tuple[tuple[int, ...], ...] | None
    labels: tuple[int, ...] | None = None


class QueryRecord(Record):
    """Labels on request: who answered, and bytes on the line (to the board, from the board)."""

    answered_by: str
    samples: tuple[int, int]
    asks: tuple[int, int]
    labels: tuple[int, int]


class Event(Record):
    """An event at a step beside learning; `generation` is the store's state then.

    drift, returned   the board told it: its samples drift, the guard went back
    outlier           the sample is far outside those before, and was not learned from
    saved             the board saved its weights before this step
    reconnected       the line was gone and is back; the board had gone on
    restarted         the board had restarted, and went back to the last save
    resumed           `--resume` went on here
    """

    step: int
    name: EventName
    generation: int | None = None


class Checkpoint(Record):
    """A place in a run whose state is in the board's store.

    `streamed` samples had come, and `replayed` epochs of the cache; the weights had learned from
    `steps` samples.
    """

    generation: int
    streamed: int
    replayed: int
    steps: int


class Outlier(Record):
    """A sample far outside those before: predicted, and not learned (`tinyodl.learning.outliers`).

    `value` is the largest of its `input`, at this index; the samples before reach as far as
    `reach`.
    """

    step: int
    sample: int  # row of the data file
    input: str | None  # where there are several
    index: tuple[int, ...]
    value: float
    reach: float

    @property
    def place(self) -> str:
        """Where the value is, in words."""
        at = str(self.index[0]) if len(self.index) == 1 else str(self.index)
        return f"{at} of {self.input}" if self.input else at

    def sentence(self, source: str) -> str:
        """A sentence on the evaluation; `source` is the name of the data."""
        return (
            f"sample {self.sample} of {source}: value {self.value:.6g} at {self.place}, and those "
            f"before reach {self.reach:.6g}: it is predicted, not learned"
        )


class Step(Record):
    """One training step: the prediction and the loss are those before the update.

    `cycles` and `instructions` are of forward, backward and update; instructions are known on
    virtual boards only. `flags` are `tinyodl.device.codes.Flag`.

    Where labels go on request: `asked` whether the board wanted this one, `answer` the label that
    it got; without an answer it learned nothing.
    """

    step: int
    epoch: int
    sample: int  # row of the data file
    label: int | None  # None for loss mse, and where there is none
    unlabelled: bool = False  # the sample has no label: no loss, and the weights learned nothing
    predicted: int | None
    loss: float | None  # None when it is not a finite number
    cycles: tuple[int, int, int] | None  # None where the board has no model of its cycles
    instructions: tuple[int, int, int] | None
    ms: float | None
    mj: float | None
    flags: int = 0
    asked: bool | None = None
    answer: int | None = None
    margin: float | None = None
    threshold: float | None = None  # None: above all margins
    saved: int | None = None  # the generation of the state that was saved before this step

    @property
    def learned(self) -> bool:
        """Whether the board had a label to learn from, and no outlier."""
        return (self.asked is None or self.answer is not None) and not self.outlier

    @property
    def outlier(self) -> bool:
        """Whether the sample was far outside all earlier ones."""
        return Flag.OUTLIER in Flag(self.flags)


class Replay(Record):
    """An epoch that the board learned from its cache by itself. Times and counts are of all of it.

    `loss` is the mean before each update; `held` are the samples in the cache.
    """

    epoch: int
    samples: int
    held: int
    loss: float | None  # None when it is not a finite number
    cycles: tuple[int, int, int] | None  # None where the board has no model of its cycles
    instructions: tuple[int, int, int] | None
    ms: float | None
    mj: float | None
    flags: int = 0  # the guard's acts, as in steps


class Radio(Record):
    """The radio that a run is compared with: V, mA, bits of user data a second, and from where."""

    supply_v: float
    ma: float
    bps: float
    source: str


class Linked(Record):
    """Bytes of the linked firmware, and its compiler."""

    ram_bytes: int
    flash_bytes: int
    compiler: str


class RunRecord(Record):
    """`run.json`. File names are as the user gave them; times are local, ISO 8601."""

    format: int = FORMAT
    tinyodl: str
    status: Status
    error: str | None = None
    started: str
    finished: str | None = None
    project: Name
    model_id: str
    board: str
    port: Name
    data: Name
    samples_in_data: int
    eval_data: Name | None
    epochs: int
    limit: int | None
    shuffle: int | None
    learning_rate: float
    steps_before: int  # samples that the weights had learned from when the run began
    clock_hz: int
    time_source: str
    energy_source: str | None
    linked: Linked | None
    radio: Radio | None = None
    draw: Order | None = None  # the order of replayed epochs
    replays: tuple[Replay, ...] = ()
    before: Evaluation | None = None
    after: Evaluation | None = None
    metrics: Metrics | None = None  # the board's own counts at the end
    stack_used: int | None = None
    settings: dict[str, float] = {}  # set by the user
    query: QueryRecord | None = None
    settled: Literal["kept", "returned"] | None = None  # the guard's act at the end
    outliers: tuple[Outlier, ...] = ()  # the first few
    keep_outliers: bool = False  # they were learned
    saved: bool = False  # the learned weights are in the board's store
    remarks: tuple[str, ...] = ()  # about the data, made before the first step
    data_digest: str | None = None  # SHA-256 of the arrays x and y, as checked
    eval_digest: str | None = None
    answered_by: str | None = None  # who answers the board's questions
    save: Keep = "unharmed"
    save_every: int | None = None
    began_at: State | None = None  # None: a log from before this was known
    generation_before: int = 0  # of the store's state when the run began
    checkpoint: Checkpoint | None = None
    saves: int = 0  # each has erased a slot of flash
    in_force: dict[str, float] = {}  # all settings when the run began
    saving: Checkpoint | None = None  # the store's content if the pending SAVE was done
    happened: tuple[Event, ...] = ()  # events seen by the host
    chosen: dict[str, tuple[int, ...]] | None = None  # channels that learn; None: no candidates
    verdict: str | None = None  # whether learning did harm, and by which evidence


def finite(value: float) -> float | None:
    """The number, or None if it is not finite."""
    return value if math.isfinite(value) else None
