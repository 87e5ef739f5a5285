"""`Session`: a board and its project, ready to be trained, evaluated and exported from Python.

with Session("build/watch", port="virtual") as session:
    summary = session.train(x, y, shuffle=0, eval=(x_test, y_test))
    print(summary.accuracy_before, summary.accuracy_after)
    session.export("learned.onnx")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl.device.client import Client
from tinyodl.device.codes import Status
from tinyodl.device.connect import connect
from tinyodl.device.link import PATIENCE as ANSWER_PATIENCE
from tinyodl.device.refusals import RefusedError
from tinyodl.device.reopening import PATIENCE, ReopeningTransport
from tinyodl.errors import UserError
from tinyodl.files.file_lock import FileLock
from tinyodl.files.project_files import lock_project
from tinyodl.graph import Array
from tinyodl.interrupt import Wish
from tinyodl.learning.state_names import LABELS
from tinyodl.project import manifest as manifest_file
from tinyodl.project.keywords import check_keywords, strict
from tinyodl.runs.evaluating import Outcomes, evaluate
from tinyodl.runs.keyword_types import RunKeywords
from tinyodl.runs.metrics import Metrics, read_metrics
from tinyodl.runs.options import RUN_OPTIONS, RunOptions
from tinyodl.runs.progress import OnProgress, Stage
from tinyodl.runs.record import PHASES, Evaluation
from tinyodl.runs.starting import run_session
from tinyodl.runs.summary import RunSummary
from tinyodl.samples import data
from tinyodl.samples.data import Samples
from tinyodl.select.choice import Choice
from tinyodl.session.choosing import choose, chosen
from tinyodl.session.energy import Meter, link_of, meter

_TRAIN = ("x", "y", "eval", "run", "source", "eval_source", "progress")  # that `train` takes itself


class Session:
    """A connection to the board that runs a project's firmware.

    `port` is "virtual", "qemu" or "host" for boards that need no hardware, else a serial device or
    a pyserial URL; without it the one serial device whose USB ids fit the board. Nothing is built:
    run `tinyodl flash` first. Use it in a `with` statement, or call `close`. `patience` is how many
    seconds of only damage or silence on the line are endured.

    A serial device, or without hardware the project, is this session's alone until it is closed.
    `lock` is a lock on the project that the caller already holds; the caller keeps it.

    Raises UserError for an unusable project, port or patience, and InUseError if another session
    has the project or port. Raises BoardError, here and in every method that talks to the board,
    when the board is silent or runs other firmware.
    """

    @strict
    def __init__(
        self,
        project: str | Path,
        port: str | None = None,
        patience: float = ANSWER_PATIENCE,
        *,
        lock: FileLock | None = None,
    ) -> None:
        if not 0 < patience < math.inf:
            raise UserError(f"patience {patience:g}: needed is a number of seconds above 0")
        self.project = Path(project)
        self.manifest = manifest_file.load(self.project)
        self.board = manifest_file.described_board(self.manifest)
        emulated = link_of(port, self.board) != "serial"
        self._lock = lock_project(self.project) if emulated and lock is None else None
        try:
            if self._lock is not None:  # another compile may have ended since
                self.manifest = manifest_file.load(self.project)
                self.board = manifest_file.described_board(self.manifest)
            self._transport = ReopeningTransport(
                connect(self.project, port), lambda: connect(self.project, port)
            )
            try:
                self.client = Client(self._transport, self.manifest, patience=patience)
                self.hello = self.client.hello()
            except BaseException:
                self._transport.close()
                raise
        except BaseException:
            self._unlock()
            raise
        self.port = port or self._transport.name
        self.meter: Meter = meter(
            self.board, link_of(port, self.board), self.hello.clock_source, self.hello.clock_hz
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the board, and of the project."""
        try:
            self._transport.close()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Meanwhile a line that is lost may come back within `reopening.PATIENCE` seconds."""
        self._transport.patience = PATIENCE
        try:
            yield
        finally:
            self._transport.patience = 0.0

    @property
    def reopened(self) -> int:
        """How often the line to the board was lost and came back."""
        return self._transport.reopened

    # Without learning

    @strict
    def infer(self, x: ArrayLike) -> NDArray[np.float32]:
        """The network's outputs, float32 (N, *output), for x of shape (N, *input)."""
        inputs = data.check_x(x, self.manifest)
        return np.concatenate([self.client.infer(sample) for sample in inputs])

    @strict
    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        source: str = "the data",
        progress: OnProgress | None = None,
    ) -> Evaluation:
        """Accuracy, confusion matrix and mean loss over samples; nothing is learned.

        x: (N, *input). y: (N,) class numbers, or (N, *output) for loss mse. `source` is what a
        DataError calls the data.
        """
        samples = data.check(x, y, self.manifest, source)
        return self.evaluate_samples(samples, "after", Wish(), progress).evaluation

    def evaluate_samples(
        self, samples: Samples, stage: Stage, wish: Wish, progress: OnProgress | None
    ) -> Outcomes:
        """The same for samples that are checked, sample by sample; `wish` may end it."""
        return evaluate(self, samples, stage, wish, progress)

    # Learning

    def train(
        self,
        x: ArrayLike,
        y: ArrayLike | None,
        *,
        eval: tuple[ArrayLike, ArrayLike] | None = None,
        run: str | Path | None = None,
        source: str = "arrays",
        eval_source: str = "arrays",
        progress: OnProgress | None = None,
        **options: Unpack[RunKeywords],
    ) -> RunSummary:
        """Stream labelled samples to the board, one training step each, and log every step.

        x: (N, *input). y: (N,) class numbers, -1 for an unlabelled sample if the plan takes these,
        or None if all are unlabelled; (N, *output) for loss mse. `options` are the fields of
        `RunOptions`, which explains each. With `eval` = (x, y) the board is evaluated on these
        samples before and after. The run is logged in the folder `run`, by default a new one in
        `runs/`.

        If the board has a cache, samples are streamed in the first epoch only, and in the other
        epochs the board learns from its cache. A sample far outside all samples seen so far is
        predicted and not learned, and the log names it (`tinyodl.learning.outliers`).

        At the end the weights are saved in the board's store. A run that did harm ends with status
        "harmed", and the board goes back to the weights of before it, unless `save` is "always":
        `eval` tells, or without it a loss that runs away (`tinyodl.runs.harm`). Ctrl-C ends the run
        between two samples: the weights are saved, the run is marked "interrupted", and the summary
        covers the steps so far.

        Raises DataError for samples that do not fit, UserError for an option out of its range, when
        the loss stops being a finite number, or when ten samples in a row are outliers, BoardError
        naming the step when the board fails, and RunLogError when the log cannot be written. The
        log keeps the steps so far and how the run ended.
        """
        check_keywords("train()", options, (*_TRAIN, *RUN_OPTIONS))
        chosen = RunOptions(**options)
        samples = data.check(x, y, self.manifest, source)
        if eval is not None and len(eval) != 2:
            raise UserError(f"eval holds {len(eval)} arrays; give two, eval=(x_test, y_test)")
        tested = None if eval is None else data.check(*eval, self.manifest, eval_source)
        folder = None if run is None else Path(run)
        return run_session(self, samples, tested, chosen, folder, progress)

    def save(self) -> bool:
        """Save the weights in the board's store: the board loads them again when it starts.

        False if the board has no store for them: none at all, too small a one, or, as in QEMU, one
        that keeps nothing.
        """
        try:
            self.client.save()
        except RefusedError as error:
            if error.status in (Status.NO_SPACE, Status.STORE):
                return False
            raise
        return True

    def reset(self) -> None:
        """Go back to the weights of the ONNX file; the store stays as it is."""
        self.client.reset()

    # What learns

    @strict
    def choose(self, choice: Mapping[str, Sequence[int]]) -> None:
        """Let these channels of the project's candidates learn, and nothing else of them.

        `choice` maps a layer's name to the output channels whose weights learn, with all of its
        bias; with none the bias learns alone. The candidates begin with the weights of the ONNX
        file, all other layers stay as they are. Raises UserError for a project without candidates
        (compiled with --update device) and for a choice that does not fit it, BoardError where the
        board refuses it.
        """
        choose(self, {name: tuple(channels) for name, channels in choice.items()})

    def chosen(self) -> Choice | None:
        """What is chosen on the board now, as `choose` takes it; None without candidates."""
        return chosen(self)

    # What was learned

    def labels(self) -> tuple[int, ...] | None:
        """The labels of the outputs, in their order; free outputs are left out.

        None for a loss without labels.
        """
        if self.manifest.plan.loss == "mse":
            return None
        if self.manifest.plan.labels is None:
            return tuple(range(self.manifest.classes or 0))
        return tuple(int(label) for label in self._kept(LABELS) if label >= 0)

    def metrics(self) -> Metrics | None:
        """The board's counts of its own predictions since the last reset.

        None where it counts nothing.
        """
        return read_metrics(self.manifest, self.labels(), self._kept)

    def _kept(self, name: str) -> Array:
        """A tensor that the board keeps, by its name."""
        [index] = [record.index for record in self.manifest.parameters if record.name == name]
        return self.client.read_parameter(index)

    @strict
    def export(self, path: str | Path) -> None:
        """Write an ONNX file with the weights as the board has them now.

        If outputs take labels as they come, the file has the taken outputs only, and its metadata
        "tinyodl.labels" has their labels.
        """
        from tinyodl.frontend.export import READ, export_model

        parameters = {
            record.name: self.client.read_parameter(record.index)
            for record in self.manifest.parameters
            if record.origin is not None or record.name in READ
        }
        labels = None if self.manifest.plan.labels is None else self.labels()
        export_model(self.project, self.manifest, parameters, Path(path), labels)

    # Details

    def target(self, samples: Samples, index: int) -> int | NDArray[np.float32]:
        """A sample's label, or for loss mse its target."""
        is_mse = self.manifest.plan.loss == "mse"
        return samples.y[index] if is_mse else int(samples.y[index])

    def ahead(
        self, samples: Samples, index: int
    ) -> tuple[NDArray[np.float32], int | NDArray[np.float32]] | None:
        """A sample and what it is learned with, ahead; None behind the last."""
        if index >= len(samples):
            return None
        return samples.x[index], self.target(samples, index)

    def instructions(self) -> tuple[int, ...] | None:
        """Instructions so far by phase; only virtual boards can tell."""
        counters = getattr(self._transport, "counters", None)
        if counters is None:
            return None
        counts = counters()
        return tuple(counts[phase].instructions for phase in PHASES)
