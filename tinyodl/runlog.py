"""What a run leaves behind: a folder with `run.json`, `steps.jsonl` and a copy of the manifest.

`steps.jsonl` gets one line a step, flushed as it goes; `run.json` is replaced as a whole. So a run
that was cut off at any byte can still be read: an unfinished last line is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tinyodl import manifest as manifest_file
from tinyodl.device.protocol import Flag, State
from tinyodl.errors import TinyodlError, UserError
from tinyodl.evidence import evidence
from tinyodl.manifest import Manifest
from tinyodl.metrics import Metrics
from tinyodl.text import stored
from tinyodl.whole_files import write_whole

RECORD_NAME = "run.json"
STEPS_NAME = "steps.jsonl"
FORMAT = 1
PHASES = ("forward", "backward", "update")

Status = Literal["running", "done", "harmed", "interrupted", "failed"]
EventName = Literal["drift", "returned", "outlier", "saved", "reconnected", "restarted", "resumed"]


class RunLogError(TinyodlError):
    """The run's folder cannot be written: the disk is full, or the folder is gone."""


# Of a file or a device, which the system may have called by bytes that are no text.
_Name = Annotated[
    str, BeforeValidator(lambda name: stored(name) if isinstance(name, str) else name)
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(_Record):
    """A pass over samples without learning. `confusion[label][predicted]` counts samples.

    For loss mse there are no classes: accuracy and confusion are None. `labels` are what the rows
    and columns stand for where that is not 0, 1, 2, ... Samples without a label count in nothing
    but `samples`, and the loss is of those whose label the network knows.
    """

    samples: int
    loss: float | None  # mean over the samples; None when it is not a finite number
    accuracy: float | None
    confusion: tuple[tuple[int, ...], ...] | None
    labels: tuple[int, ...] | None = None


class QueryRecord(_Record):
    """Labels on request: who answered, and bytes on the line (to the board, from the board)."""

    answered_by: str
    samples: tuple[int, int]
    asks: tuple[int, int]
    labels: tuple[int, int]


class Event(_Record):
    """What happened at a step beside learning; `generation` is that of the store's state.

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


class Checkpoint(_Record):
    """A place in a run that the board's store has the state of.

    `streamed` samples had come, and `replayed` epochs of the cache; the weights had learned from
    `steps` samples.
    """

    generation: int
    streamed: int
    replayed: int
    steps: int


class Outlier(_Record):
    """A sample far outside those before: predicted, and not learned. See `tinyodl.outliers`.

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
        """What is said of it; `source` is what the data is called."""
        return (
            f"sample {self.sample} of {source}: value {self.value:.6g} at {self.place}, and those "
            f"before reach {self.reach:.6g}: it is predicted, not learned"
        )


class Step(_Record):
    """One training step: the prediction and the loss are those before the update.

    `cycles` and `instructions` are of forward, backward and update; instructions are known on
    virtual boards only. `flags` are `tinyodl.device.protocol.Flag`.

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
    cycles: tuple[int, int, int]
    instructions: tuple[int, int, int] | None
    ms: float
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
        """Whether the sample was far outside those before."""
        return Flag.OUTLIER in Flag(self.flags)


class Replay(_Record):
    """An epoch that the board learned from its cache by itself. Times and counts are of all of it.

    `loss` is the mean before each update; `held` are the samples in the cache.
    """

    epoch: int
    samples: int
    held: int
    loss: float | None  # None when it is not a finite number
    cycles: tuple[int, int, int]
    instructions: tuple[int, int, int] | None
    ms: float
    mj: float | None
    flags: int = 0  # what the guard did, as in steps


class Radio(_Record):
    """The radio that a run is compared with: V, mA, bits of user data a second, and from where."""

    supply_v: float
    ma: float
    bps: float
    source: str


class Linked(_Record):
    """Bytes that the linked firmware takes, and the compiler that made it."""

    ram_bytes: int
    flash_bytes: int
    compiler: str


class RunRecord(_Record):
    """`run.json`. File names are as the user gave them; times are local, ISO 8601."""

    format: int = FORMAT
    tinyodl: str
    status: Status
    error: str | None = None
    started: str
    finished: str | None = None
    project: _Name
    model_id: str
    board: str
    port: _Name
    data: _Name
    samples_in_data: int
    eval_data: _Name | None
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
    draw: str | None = None  # the order of replayed epochs
    replays: tuple[Replay, ...] = ()
    before: Evaluation | None = None
    after: Evaluation | None = None
    metrics: Metrics | None = None  # that the board itself had counted at the end
    stack_used: int | None = None
    settings: dict[str, float] = {}  # that the user set
    query: QueryRecord | None = None
    settled: Literal["kept", "returned"] | None = None  # what the guard did at the end
    outliers: tuple[Outlier, ...] = ()  # the first few
    keep_outliers: bool = False  # they were learned
    saved: bool = False  # the learned weights are in the board's store
    remarks: tuple[str, ...] = ()  # about the data, made before the first step
    data_digest: str | None = None  # SHA-256 of the arrays x and y, as checked
    eval_digest: str | None = None
    answered_by: str | None = None  # who answers the board's questions
    save: str = "unharmed"
    save_every: int | None = None
    began_at: State | None = None  # None: a log from before this was known
    generation_before: int = 0  # of the store's state when the run began
    checkpoint: Checkpoint | None = None
    saves: int = 0  # each has erased a slot of flash
    in_force: dict[str, float] = {}  # all settings when the run began
    saving: Checkpoint | None = None  # what the store has if SAVE was done that was under way
    happened: tuple[Event, ...] = ()  # what the host saw
    verdict: str | None = None  # whether learning did harm, and by which evidence


class ReplaySummary(_Record):
    """The epochs from the cache in numbers: all samples, the last epoch's loss, all ms and mJ."""

    epochs: int
    samples: int
    loss: float | None
    ms: float
    mj: float | None


class RunSummary(_Record):
    """A run in numbers. Cycles, instructions, ms and mJ are means per step.

    `prequential_accuracy` is the share of samples predicted right before learning from them. It is
    no evidence where labels come in blocks: `accuracy_at_changes`, of samples whose label is not
    that of the sample before, says more there; see `tinyodl.evidence`.
    """

    run: _Name  # the folder
    status: Status
    error: str | None
    samples: int
    accuracy_before: float | None
    accuracy_after: float | None
    loss_before: float | None
    loss_after: float | None
    prequential_accuracy: float | None
    labels_in_blocks: bool = False
    label_changes: int = 0
    accuracy_at_changes: float | None = None
    mean_loss: float | None
    cycles: dict[str, float] | None
    instructions: dict[str, float] | None
    ms_per_step: float | None
    mj_per_step: float | None
    replay: ReplaySummary | None
    time_source: str
    energy_source: str | None
    board: str
    port: _Name
    saved: bool
    asked: int | None = None  # samples whose label the board wanted; None: all went with it
    answered: int | None = None
    query: QueryRecord | None = None
    held_back: int = 0  # by the guard
    bounded: int = 0  # steps made smaller by the bound
    events: tuple[Event, ...] = ()
    verdict: str | None = None


@dataclass(frozen=True)
class Run:
    """A run as read from its folder."""

    folder: Path
    record: RunRecord
    manifest: Manifest
    steps: tuple[Step, ...]

    @property
    def summary(self) -> RunSummary:
        """The run in numbers, from the steps that were logged."""
        return summarize(self.record, self.steps, self.folder)


class RunLog:
    """Writes a run's folder. Every method raises RunLogError when the disk refuses."""

    def __init__(self, folder: Path, record: RunRecord, manifest: Manifest) -> None:
        self.folder = folder
        self.record = record
        self.steps: list[Step] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / manifest_file.FILE_NAME, manifest_file.dump(manifest))
            self._lines = (folder / STEPS_NAME).open("w", encoding="utf-8")
            self.update()
        except OSError as error:
            raise _refused(folder, error) from error

    @classmethod
    def again(cls, run: Run) -> RunLog:
        """Go on with the log of a run that was cut off, from its last whole line."""
        log = cls.__new__(cls)
        log.folder, log.record, log.steps = run.folder, run.record, list(run.steps)
        log._rewrite()
        return log

    def step(self, step: Step) -> None:
        """Append one step; when this returns, the operating system has it."""
        try:
            self._lines.write(step.model_dump_json() + "\n")
            self._lines.flush()
        except OSError as error:
            raise _refused(self.folder, error) from error
        self.steps.append(step)

    def go_back(self, steps: int, epochs: int) -> list[Step]:
        """Forget all but the first steps, and all but the first epochs from the cache.

        What is forgotten of the steps.
        """
        forgotten = self.steps[steps:]
        del self.steps[steps:]
        self.close()
        self._rewrite()
        outliers = tuple(each for each in self.record.outliers if each.step < steps)
        self.update(replays=self.record.replays[:epochs], outliers=outliers)
        return forgotten

    def _rewrite(self) -> None:
        path = self.folder / STEPS_NAME
        try:
            write_whole(path, "".join(step.model_dump_json() + "\n" for step in self.steps))
            self._lines = path.open("a", encoding="utf-8")
        except OSError as error:
            raise _refused(self.folder, error) from error

    def happened(self, step: int, name: EventName, generation: int | None = None) -> None:
        """Add an event that the host saw to `run.json`."""
        event = Event(step=step, name=name, generation=generation)
        self.update(happened=(*self.record.happened, event))

    def update(self, **changes: Any) -> None:
        """Change fields of `run.json`."""
        texts = {name: stored(text) for name, text in changes.items() if isinstance(text, str)}
        self.record = self.record.model_copy(update=changes | texts)
        try:
            write_whole(self.folder / RECORD_NAME, self.record.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise _refused(self.folder, error) from error

    def close(self) -> None:
        """Close the files; the last word is whatever `update` wrote."""
        try:
            self._lines.close()
        except OSError as error:
            raise _refused(self.folder, error) from error


def now() -> str:
    """The local time to the second, ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def default_folder(project: Path) -> Path:
    """`runs/<project>-<time>` below the current directory, a name that is not taken."""
    name = f"{project.resolve().name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = Path("runs") / name, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{count}"
    return folder


def require_free(folder: Path) -> None:
    """UserError if a run, or a file, lies there already."""
    if (folder / RECORD_NAME).exists() or (folder / STEPS_NAME).exists():
        raise UserError(f"{folder} already holds a run; name another folder with --run")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder with --run")


def claim(folder: Path) -> Path:
    """Take the folder for one run: of several that name it, in any process, one gets it.

    The claim is an empty `steps.jsonl`, which only the first can create. Raises UserError if a run
    lies there already, and RunLogError if the folder cannot be made.
    """
    require_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STEPS_NAME).touch(exist_ok=False)
    except FileExistsError:
        raise UserError(f"{folder} already holds a run; name another folder with --run") from None
    except OSError as error:
        raise _refused(folder, error) from error
    return folder


def claim_default(project: Path) -> Path:
    """Take a new folder with the name that `default_folder` gives."""
    while True:
        folder = default_folder(project)
        try:
            folder.mkdir(parents=True)
            return claim(folder)
        except FileExistsError:
            continue  # another run was faster; the next name
        except OSError as error:
            raise _refused(folder, error) from error


def read(folder: Path) -> Run:
    """The run in a folder (or whose `run.json` is given); UserError when there is none."""
    if folder.name == RECORD_NAME:
        folder = folder.parent
    path = folder / RECORD_NAME
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"{folder} holds no run ({RECORD_NAME}: {reason}); "
            "`tinyodl stream-train` makes one and prints its path"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from error
    return Run(folder, record, manifest_file.load(folder), _read_steps(folder / STEPS_NAME))


def read_all(folder: Path, tell: Callable[[str], object]) -> list[Run]:
    """The run in a folder; or all runs below it, the oldest first.

    Of those below it, one that cannot be read is left out, and `tell` says so. Raises UserError
    where there is none.
    """
    if folder.name == RECORD_NAME or (folder / RECORD_NAME).exists() or not folder.is_dir():
        return [read(folder)]
    runs = []
    for path in sorted(folder.rglob(RECORD_NAME)):
        try:
            runs.append(read(path.parent))
        except UserError as error:
            tell(f"Left out: {error}")
    return sorted(runs, key=lambda run: run.record.started) if runs else [read(folder)]


def _read_steps(path: Path) -> tuple[Step, ...]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    lines = text.split(b"\n")
    steps = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is cut off
        try:
            steps.append(Step.model_validate_json(line))
        except ValidationError as error:
            raise UserError(
                f"{path}: line {number} is not a step: {error.errors()[0]['msg']}"
            ) from error
    return tuple(steps)


def summarize(record: RunRecord, steps: Sequence[Step], folder: Path) -> RunSummary:
    """The run in numbers; of what was logged, when it ended early."""
    labelled = [step for step in steps if step.label is not None]
    order = evidence(steps)
    losses = [step.loss for step in steps if step.learned and not step.unlabelled]
    energies = [step.mj for step in steps]
    return RunSummary(
        run=str(folder),
        status=record.status,
        error=record.error,
        samples=len(steps),
        accuracy_before=record.before.accuracy if record.before else None,
        accuracy_after=record.after.accuracy if record.after else None,
        loss_before=record.before.loss if record.before else None,
        loss_after=record.after.loss if record.after else None,
        prequential_accuracy=_mean([float(s.predicted == s.label) for s in labelled]),
        labels_in_blocks=order.in_blocks,
        label_changes=order.changes,
        accuracy_at_changes=order.at_changes,
        mean_loss=_mean(losses),
        cycles=_by_phase([step.cycles for step in steps]),
        instructions=_by_phase([step.instructions for step in steps]),
        ms_per_step=_mean([step.ms for step in steps]),
        mj_per_step=_mean(energies),
        replay=_replayed(record.replays),
        time_source=record.time_source,
        energy_source=record.energy_source,
        board=record.board,
        port=record.port,
        saved=record.saved,
        asked=sum(bool(step.asked) for step in steps) if record.query else None,
        answered=sum(step.answer is not None for step in steps) if record.query else None,
        query=record.query,
        held_back=sum(Flag.HELD_BACK in Flag(step.flags) for step in steps),
        bounded=sum(Flag.BOUNDED in Flag(step.flags) for step in steps),
        events=tuple(sorted((*events(steps), *record.happened), key=lambda event: event.step)),
        verdict=record.verdict,
    )


def events(steps: Sequence[Step]) -> tuple[Event, ...]:
    """Drifts, returns to kept parameters, outliers and saves, in their order."""
    names: dict[Flag, EventName] = {
        Flag.DRIFT: "drift",
        Flag.RETURNED: "returned",
        Flag.OUTLIER: "outlier",
    }
    found = []
    for step in steps:
        for flag, name in names.items():
            if flag in Flag(step.flags):
                found.append(Event(step=step.step, name=name))
        if step.saved is not None:
            found.append(Event(step=step.step, name="saved", generation=step.saved))
    return tuple(found)


def _replayed(replays: Sequence[Replay]) -> ReplaySummary | None:
    if not replays:
        return None
    energies = [replay.mj for replay in replays if replay.mj is not None]
    return ReplaySummary(
        epochs=len(replays),
        samples=sum(replay.samples for replay in replays),
        loss=replays[-1].loss,
        ms=sum(replay.ms for replay in replays),
        mj=sum(energies) if len(energies) == len(replays) else None,
    )


def finite(value: float) -> float | None:
    """The number, or None where it is none."""
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    """None when there are no values, or one of them is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _by_phase(counts: Sequence[tuple[int, int, int] | None]) -> dict[str, float] | None:
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return None
    return {
        phase: sum(count[index] for count in known) / len(known)
        for index, phase in enumerate(PHASES)
    }


def _refused(folder: Path, error: OSError) -> RunLogError:
    return RunLogError(f"{folder}: the run cannot be logged: {error.strerror or error}")
