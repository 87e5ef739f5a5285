"""One run of a session: samples to the board, one step each, and every step into the log."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np

from tinyodl.asking import Asking
from tinyodl.data import Samples
from tinyodl.device.client import Client
from tinyodl.device.protocol import Draw, Flag, Replayed
from tinyodl.energy import Meter
from tinyodl.errors import BoardError, UserError
from tinyodl.gate import Gate
from tinyodl.graph import Array
from tinyodl.interrupt import Wish
from tinyodl.manifest import Manifest
from tinyodl.metrics import Metrics
from tinyodl.runlog import Evaluation, Outlier, Replay, RunLog, Step, finite
from tinyodl.update_plan import LABELLED

Stage = Literal["before", "learning", "after"]
Order = Literal["epochs", "uniform", "balanced"]  # of what is drawn from a cache

DRAWS = {"epochs": Draw.EPOCHS, "uniform": Draw.UNIFORM, "balanced": Draw.BALANCED}
_MOST_BATCHES = 256  # that the board takes in a request
_MOST_NAMED = 8  # outliers; all are counted
_CYCLES_PER_MAC = 16  # to keep a request near a second: more than the kernels of heads need


@dataclass(frozen=True)
class Progress:
    """Where a session is: `done` of `total` samples of a stage, with the share right so far.

    `note` is a sentence about what comes now, for people.
    """

    stage: Stage
    done: int
    total: int
    accuracy: float | None
    note: str | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Place:
    """A sample's place in the stream."""

    step: int
    epoch: int
    sample: int


def order_of(count: int, epochs: int, limit: int | None, shuffle: int | None) -> Iterator[Place]:
    """The samples' places: as they are, or each epoch in a permutation of its own."""
    random = None if shuffle is None else np.random.default_rng(shuffle)
    step = 0
    for epoch in range(epochs):
        rows = np.arange(count) if random is None else random.permutation(count)
        for row in rows[:limit]:
            yield Place(step, epoch, int(row))
            step += 1


class Learning(Protocol):
    """What a run needs of its session."""

    client: Client
    manifest: Manifest
    meter: Meter

    def evaluate_samples(
        self, samples: Samples, stage: Stage, wish: Wish, progress: OnProgress | None
    ) -> Evaluation: ...

    def target(self, samples: Samples, index: int) -> int | Array: ...

    def instructions(self) -> tuple[int, ...] | None: ...

    def metrics(self) -> Metrics | None: ...

    def save(self) -> bool: ...


@dataclass(frozen=True)
class Run:
    """What `Session.train` does once all is checked: `order` is that of the streamed samples."""

    session: Learning
    log: RunLog
    samples: Samples
    order: list[Place]
    tested: Samples | None
    wish: Wish
    progress: OnProgress | None
    asking: Asking | None
    gate: Gate | None = None

    @property
    def client(self) -> Client:
        return self.session.client

    @property
    def manifest(self) -> Manifest:
        return self.session.manifest

    def all(self) -> None:
        """The evaluation before, all steps and epochs, what is kept, and the evaluation after."""
        log, order = self.log, self.order
        if self.tested is not None:
            log.update(before=self._evaluate(self.tested, "before"))
        slots = self.manifest.plan.cache
        total = len(order) + (log.record.epochs - 1) * slots
        right, judged = 0, 0
        for place in order:
            self.wish.check()
            outlier = self.gate.look(place.step, place.sample) if self.gate else None
            if outlier:
                self._name(outlier)
            step = self._learn(place, outlier)
            if self.gate and step.outlier and not outlier:
                self._name(self.gate.told(place.step, place.sample))
            log.step(step)
            if step.loss is None and step.learned and not step.unlabelled:
                raise self._diverged(f"at step {place.step + 1}")
            judged += step.label is not None
            right += step.label is not None and step.predicted == step.label
            accuracy = right / judged if judged else None
            if self.progress:
                self.progress(Progress("learning", place.step + 1, total, accuracy))
        for epoch in range(1, log.record.epochs if slots else 1):
            self._replay_epoch(epoch)
            if self.progress:
                self.progress(Progress("learning", len(order) + epoch * slots, total, accuracy))
        settled = self.client.settle()
        log.update(metrics=self.session.metrics())
        if self.asking is not None:
            log.update(query=self.asking.record())
        if settled:
            log.update(settled="returned" if Flag.RETURNED in settled else "kept")
        log.update(saved=self.session.save(), stack_used=self.client.statistics().stack_used)
        if self.tested is not None:
            log.update(after=self._evaluate(self.tested, "after"))
        log.update(status="done")

    def _evaluate(self, tested: Samples, stage: Stage) -> Evaluation:
        return self.session.evaluate_samples(tested, stage, self.wish, self.progress)

    def _name(self, outlier: Outlier) -> None:
        """Say which sample is not learned from; the first few by name."""
        named = self.log.record.outliers
        if len(named) == _MOST_NAMED:
            return
        self.log.update(outliers=(*named, outlier))
        note = outlier.sentence(self.samples.source)
        if len(named) == _MOST_NAMED - 1:
            note += "; others are counted, and not named"
        if self.progress:
            self.progress(Progress("learning", outlier.step, len(self.order), None, note))

    def _learn(self, place: Place, outlier: Outlier | None) -> Step:
        """One step, on a sample of the stream; of an outlier the forward half."""
        samples, is_mse = self.samples, self.manifest.plan.loss == "mse"
        counted = self.session.instructions()
        logged: dict[str, Any] = {}
        try:
            target = self.session.target(samples, place.sample)
            if outlier is not None:
                does = self.client if self.asking is None else self.asking
                reply = does.evaluate(samples.x[place.sample], target)
                reply = replace(reply, flags=reply.flags | Flag.OUTLIER)
                logged = {} if self.asking is None else {"asked": False}
            elif self.asking is not None:
                exchange = self.asking.step(samples, place.sample)
                reply, logged = exchange.reply, exchange.logged()
            else:
                reply = self.client.train(samples.x[place.sample], target)
        except BoardError as error:
            raise BoardError(
                f"step {place.step + 1} of {len(self.order)} "
                f"(sample {place.sample} of {samples.source}): {error}"
            ) from error
        nameless = not is_mse and int(samples.y[place.sample]) < 0
        now = self.session.instructions()
        cycles = (reply.cycles_forward, reply.cycles_backward, reply.cycles_update)
        spent = tuple(b - a for a, b in zip(counted, now, strict=True)) if counted and now else None
        return Step(
            step=place.step,
            epoch=place.epoch,
            sample=place.sample,
            label=None if is_mse or nameless else int(samples.y[place.sample]),
            unlabelled=nameless and self.manifest.plan.loss in LABELLED,
            predicted=None if is_mse else reply.predicted,
            loss=finite(reply.loss),
            cycles=cycles,
            instructions=cast("tuple[int, int, int] | None", spent),
            ms=self.session.meter.ms(sum(cycles)),
            mj=self.session.meter.mj(sum(cycles)),
            flags=int(reply.flags),
            **logged,
        )

    def _replay_epoch(self, epoch: int) -> None:
        """As many samples as the cache holds, in requests of about a second."""
        draw = DRAWS[self.log.record.draw or "epochs"]
        counted = self.session.instructions()
        done: list[Replayed] = []
        while not done or sum(reply.samples for reply in done) < done[-1].held:
            self.wish.check()
            left = done[-1].held - sum(reply.samples for reply in done) if done else None
            done.append(self.client.replay(self._batches(left), draw))
        now = self.session.instructions()
        samples = sum(reply.samples for reply in done)
        cycles = (
            sum(reply.cycles_forward for reply in done),
            sum(reply.cycles_backward for reply in done),
            sum(reply.cycles_update for reply in done),
        )
        spent = tuple(b - a for a, b in zip(counted, now, strict=True)) if counted and now else None
        loss = finite(sum(reply.loss * reply.samples for reply in done) / samples)
        replay = Replay(
            epoch=epoch,
            samples=samples,
            held=done[-1].held,
            loss=loss,
            cycles=cycles,
            instructions=cast("tuple[int, int, int] | None", spent),
            ms=self.session.meter.ms(sum(cycles)),
            mj=self.session.meter.mj(sum(cycles)),
            flags=int(functools.reduce(operator.or_, (reply.flags for reply in done))),
        )
        self.log.update(replays=(*self.log.record.replays, replay))
        if loss is None:
            raise self._diverged(f"in epoch {epoch + 1}")

    def _batches(self, left: int | None) -> int:
        """Updates for the next request: about a second, and no more than `left` samples need."""
        plan, macs = self.manifest.plan, self.manifest.macs.update
        macs += plan.batch * self.manifest.replay_macs
        second = int(self.session.meter.clock_hz / (_CYCLES_PER_MAC * max(macs, 1)))
        needed = -(-(plan.cache if left is None else left) // plan.batch)
        return max(1, min(second, needed, _MOST_BATCHES))

    def _diverged(self, where: str) -> UserError:
        """The board must not keep weights that are not numbers: take it back to good ones.

        Samples that it keeps in flash are as good as they were.
        """
        if self.client.hello().generation:
            self.client.restore()
            back = "the weights in its store"
        else:
            self.client.reset(forget=False)
            back = "the weights of the ONNX file"
        return UserError(
            f"the loss {where} is not a finite number: the learning rate is too high "
            f"for this model and data; give a smaller --lr (the board is back at {back})"
        )
