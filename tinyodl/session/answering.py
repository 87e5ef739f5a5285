"""The host's side of labels on request: who answers, and one sample asked about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite, nan, prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinyodl.device.client import Client
from tinyodl.device.protocol import Asked, StepReply
from tinyodl.errors import UserError
from tinyodl.graph import Array
from tinyodl.project.manifest import Manifest
from tinyodl.runs.record import QueryRecord
from tinyodl.samples.data import Samples


class Answers(Protocol):
    """Who answers when the board wants a label."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    def label(self, samples: Samples, index: int) -> int | None:
        """The label of a sample, or None: no answer."""
        ...


@dataclass(frozen=True)
class FromData:
    """The labels that come with the samples; -1 is none."""

    name: str = "the data"

    def label(self, samples: Samples, index: int) -> int | None:
        label = int(samples.y[index])
        return label if label >= 0 else None


@dataclass(frozen=True)
class Nobody:
    """No answer, ever: the board predicts, and learns nothing."""

    name: str = "nobody"

    def label(self, samples: Samples, index: int) -> int | None:
        return None


class Teacher:
    """A larger network on the host, in onnxruntime: its largest output is the label."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Raises UserError, or ModelError, where the network does not fit the board's."""
        from tinyodl.frontend.load import load_model  # onnx and onnxruntime load slowly
        from tinyodl.frontend.runtime import session

        self.name = path.name
        self._session = session(load_model(path))
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        if len(inputs) != 1 or len(self._session.get_outputs()) != 1:
            raise UserError(f"{path}: a teacher has one input and one output")
        self._input = inputs[0].name
        given = manifest.model.input_shape
        wanted = inputs[0].shape
        fits = len(wanted) == len(given) and all(
            not isinstance(size, int) or size == have
            for size, have in zip(wanted[1:], given[1:], strict=True)
        )
        if manifest.model.inputs or not fits or inputs[0].type != "tensor(float)":
            raise UserError(
                f"{path}: the teacher takes {inputs[0].type} {wanted}, the samples of this project "
                f"are float {list(given)}"
            )
        classes = prod(manifest.model.output_shape)
        found = output.shape[-1] if output.shape else None
        if isinstance(found, int) and found != classes:
            raise UserError(f"{path}: the teacher knows {found} classes, the board {classes}")
        made = self._scores(np.zeros(given, np.float32)).size
        if made != classes:
            raise UserError(f"{path}: the teacher knows {made} classes, the board {classes}")

    def label(self, samples: Samples, index: int) -> int | None:
        return int(self._scores(np.asarray(samples.x[index], np.float32)[None]).argmax())

    def _scores(self, x: Array) -> Array:
        made = self._session.run(None, {self._input: x})[0]
        return np.asarray(made).reshape(-1)


def answers(
    manifest: Manifest, query: bool, teacher: str | Path | None, silent: bool
) -> Answers | None:
    """Who answers the board's questions; None where it is not asked. Raises UserError."""
    if not query:
        if teacher is not None or silent:
            raise UserError("a teacher, or silence, is for labels on request: give --query")
        return None
    if "query" not in manifest.plan.beside:
        raise UserError(
            "this firmware does not ask for labels; compile it with --query auto, always or "
            "margin:T"
        )
    if teacher is not None and silent:
        raise UserError("--teacher answers and --silent does not: give one of them")
    if teacher is not None:
        return Teacher(Path(teacher), manifest)
    return Nobody() if silent else FromData()


@dataclass(frozen=True)
class Exchange:
    """The outcome of one sample; `answer` None: no label went to the board."""

    asked: Asked
    answer: int | None
    learned: StepReply | None

    @property
    def reply(self) -> StepReply:
        """The whole as one step; the loss is not a number where no label came."""
        asked, learned = self.asked, self.learned
        if learned is None:
            return StepReply(asked.predicted, nan, asked.cycles_forward, 0, 0, asked.flags)
        return replace(learned, flags=asked.flags | learned.flags)

    def logged(self) -> dict[str, Any]:
        """The log's entry for the question, beside the step."""
        threshold = self.asked.threshold
        return {
            "asked": self.asked.wanted,
            "answer": self.answer,
            "margin": self.asked.margin,
            "threshold": threshold if isfinite(threshold) else None,
        }


@dataclass
class Asking:
    """A stream of samples; the board chooses the samples whose labels it wants."""

    client: Client
    answers: Answers
    bytes: dict[str, list[int]] = field(
        default_factory=lambda: {part: [0, 0] for part in ("samples", "asks", "labels")}
    )

    def step(self, samples: Samples, index: int) -> Exchange:
        """One sample: sent, asked about, and answered where the board wants that."""
        with self._counted("samples"):
            self.client.upload(samples.x[index])
        with self._counted("asks"):
            asked = self.client.ask()
        answer = self.answers.label(samples, index) if asked.wanted else None
        if answer is None:
            return Exchange(asked, None, None)
        with self._counted("labels"):
            return Exchange(asked, answer, self.client.learn(answer))

    def evaluate(self, x: Array, target: int | Array) -> StepReply:
        """One sample that is neither asked about nor learned: an outlier."""
        with self._counted("samples"):
            return self.client.evaluate(x, target)

    @contextmanager
    def _counted(self, part: str) -> Iterator[None]:
        """Add what goes over the line meanwhile to this part."""
        sent, received = self.client.sent, self.client.received
        yield
        self.bytes[part][0] += self.client.sent - sent
        self.bytes[part][1] += self.client.received - received

    def record(self) -> QueryRecord:
        """Who answered, and bytes to the board and from it."""
        counts = {part: (to, back) for part, (to, back) in self.bytes.items()}
        return QueryRecord(answered_by=self.answers.name, **counts)
