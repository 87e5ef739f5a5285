"""One run of a session: samples to the board, one step each, and every step into the log."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from tinyodl.device.client import Client
from tinyodl.device.codes import Flag, Status
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import BoardError, UserError
from tinyodl.graph import Array
from tinyodl.interrupt import Wish
from tinyodl.project.manifest import Manifest
from tinyodl.project.plan import LABELLED
from tinyodl.runs import aside, bad_loss, harm, keeping, resuming
from tinyodl.runs.log import RunLog
from tinyodl.runs.progress import OnProgress, Progress, Stage
from tinyodl.runs.record import Event, EventName, Outlier, Step, finite
from tinyodl.runs.replaying import epoch_from_cache, record_of
from tinyodl.samples.data import Samples
from tinyodl.samples.gate import Gate
from tinyodl.samples.order import Position
from tinyodl.session.answering import Asking

if TYPE_CHECKING:
    from tinyodl.runs.evaluating import Outcomes
    from tinyodl.session.session import Session

_MOST_RESTARTS = 3  # of a board, at one place
_MOST_NAMED = 8  # outliers; all are counted


@dataclass
class Trainer:
    """Runs `Session.train` after all checks: `order` is the order of the streamed samples."""

    session: Session
    log: RunLog
    samples: Samples
    order: list[Position]
    tested: Samples | None
    wish: Wish
    progress: OnProgress | None
    asking: Asking | None
    gate: Gate | None = None
    again: deque[Step] = field(default_factory=deque)  # steps that come again, as they were logged
    _saved: int | None = None  # the generation of a state saved since the last step
    _restarts: int = 0  # of the board, since the last save
    _within_epoch: bool = False  # of the cache
    _reopened: int = 0  # how often the line was, as far as the log knows

    @property
    def client(self) -> Client:
        return self.session.client

    @property
    def manifest(self) -> Manifest:
        return self.session.manifest

    def all(self, event: EventName | None = None) -> None:
        """Do the run, from the evaluation before it to the evaluation after it.

        A restarted board is taken back to the last save, if there is one. With `event`, the
        event that resumes a run, this happens first.
        """
        while True:
            try:
                if self.log.record.error is not None:  # it did harm, and was going back
                    keeping.give_up(self.session, self.log)
                    return
                if event is not None:
                    self._go_back(event)
                self._before()
                self._stream()
                self._replay()
                self._settle()
                self._end()
                return
            except BoardError as error:
                if not _has_restarted(error) or self.log.record.save_every is None:
                    raise
                self._restarts += 1
                if self._restarts > _MOST_RESTARTS:
                    raise BoardError(
                        f"the board restarts again and again: {self._restarts} times since step "
                        f"{self._streamed()}, the last that was saved; {error}"
                    ) from error
                event = "restarted"

    def _go_back(self, event: EventName) -> None:
        """Take board and log to the last save; the steps since then come again."""
        at, self._reopened = len(self.log.steps), self.session.reopened
        self.again = deque([*resuming.go_back(self.session, self.log), *self.again])
        self._within_epoch = False
        if self.gate:
            self.gate.begin([position.sample for position in self.order], self.log.steps)
        checkpoint = self.log.record.checkpoint
        self._saved = checkpoint.generation if checkpoint else None
        self.log.happened(at, event, self._saved)
        self._tell()

    def _streamed(self) -> int:
        """Samples of the stream that the last save knows of."""
        return 0 if self.log.record.checkpoint is None else self.log.record.checkpoint.streamed

    # The parts of a run

    def _before(self) -> None:
        self._remark()
        if self.log.record.save_every is not None and self.log.record.checkpoint is None:
            self._save(0, 0)
        if self.tested is not None and self.log.record.before is None:
            found = self._evaluate(self.tested, "before")
            aside.keep_outcomes(self.log, found)
            self.log.update(before=found.evaluation)

    def _remark(self) -> None:
        """Say what is to be said of the data, before the first sample is sent."""
        if self.progress and not self.log.steps:
            stage: Stage = "learning" if self.tested is None else "before"
            total = len(self.order if self.tested is None else self.tested)
            for remark in self.log.record.remarks:
                self.progress(Progress(stage, 0, total, None, note=remark))

    def _stream(self) -> None:
        total = len(self.order) + (self.log.record.epochs - 1) * self.manifest.cached_samples
        judged = [step for step in self.log.steps if step.label is not None]
        right, count = sum(step.predicted == step.label for step in judged), len(judged)
        every = self.log.record.save_every
        for position in islice(self.order, len(self.log.steps), None):
            self.wish.check()
            outlier = self.gate.look(position.step, position.sample) if self.gate else None
            if outlier:
                self._name(outlier)
            step = self._checked_again(self._learn(position, outlier))
            if self.gate and step.outlier and not outlier:
                self._name(self.gate.told(position.step, position.sample))
            self.log.step(step)
            if step.loss is None and step.learned and not step.unlabelled:
                raise self._diverged(f"at step {position.step + 1} (sample {position.sample})")
            count += step.label is not None
            right += step.label is not None and step.predicted == step.label
            done = position.step + 1
            if every and done % every == 0:
                self._save(done, 0)
            if self.progress:
                accuracy = right / count if count else None
                self.progress(Progress("learning", done, total, accuracy, self._last_event()))

    def _replay(self) -> None:
        slots = self.manifest.cached_samples
        epochs = self.log.record.epochs if slots else 1
        total = len(self.order) + (epochs - 1) * slots
        for epoch in range(1 + len(self.log.record.replays), epochs):
            self._replay_epoch(epoch)
            if self.log.record.save_every and epoch + 1 < epochs:
                self._save(len(self.order), epoch)
            if self.progress:
                done = len(self.order) + epoch * slots
                self.progress(Progress("learning", done, total, None, self._last_event()))

    def _settle(self) -> None:
        settled = self.client.settle()
        self.log.update(metrics=self.session.metrics())
        if self.asking is not None:
            self.log.update(query=self.asking.record())
        if settled:
            self.log.update(settled="returned" if Flag.RETURNED in settled else "kept")
        self.log.update(stack_used=self.client.statistics().stack_used)

    def _end(self) -> None:
        """The evaluation after, the verdict, and what is kept."""
        verdict = None
        if self.tested is not None:
            after = self._evaluate(self.tested, "after")
            self.log.update(after=after.evaluation)
            nothing = harm.knowing_nothing(self.samples, self.manifest)
            verdict = harm.compared(aside.outcomes_before(self.log), after, nothing)
        self.keep(verdict)
        if self.log.record.status == "running":
            self.log.update(status="done")

    def keep(self, verdict: harm.Verdict | None) -> None:
        """Save what was learned, or go back to the weights of before where it did harm.

        Without the verdict of an evaluation, a loss that has run away is harm.
        """
        verdict = harm.with_stream(
            verdict, self.log.steps, self.log.record.replays, self.samples, self.manifest
        )
        keeping.keep(self.session, self.log, verdict, self._within_epoch)

    def _save(self, streamed: int, replayed: int) -> None:
        """Save in the middle of the run. Raises BoardError where the store does not hold it."""
        if not resuming.save_here(self.session, self.log, streamed, replayed):
            raise BoardError("the board's store does not hold its weights: leave --save-every away")
        assert self.log.record.checkpoint is not None
        self._saved = self.log.record.checkpoint.generation
        self._restarts = 0

    def _evaluate(self, tested: Samples, stage: Stage) -> Outcomes:
        found = self.session.evaluate_samples(tested, stage, self.wish, self.progress)
        self._note_reconnection(len(self.log.steps))
        return found

    def _note_reconnection(self, step: int) -> bool:
        """Whether the line was lost and came back; the log then has an entry."""
        if self.session.reopened == self._reopened:
            return False
        self._reopened = self.session.reopened
        self.log.happened(step, "reconnected")
        self._tell()
        return True

    def _checked_again(self, step: Step) -> Step:
        """A step that comes again must come out as it did. Raises BoardError."""
        if self.again:
            then = self.again.popleft()
            if (then.predicted, then.loss, then.flags) != (step.predicted, step.loss, step.flags):
                raise BoardError(
                    f"step {step.step + 1} came again and came out otherwise (loss {step.loss}, "
                    f"before {then.loss}): the board is not as it was at the last save"
                )
        return step

    def _ahead(self, position: Position) -> tuple[Array, int | Array] | None:
        """The sample behind this one in the stream, which may travel already."""
        after = position.step - self.order[0].step + 1
        if after == len(self.order):
            return None
        return self.session.ahead(self.samples, self.order[after].sample)

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
            self.progress(Progress("learning", outlier.step, len(self.order), None, note=note))

    def _learn(self, position: Position, outlier: Outlier | None) -> Step:
        """One step, on a sample of the stream; of an outlier the forward half."""
        samples, is_mse = self.samples, self.manifest.plan.loss == "mse"
        counted = self.session.instructions()
        logged: dict[str, Any] = {}
        try:
            target = self.session.target(samples, position.sample)
            if outlier is not None:
                does = self.client if self.asking is None else self.asking
                reply = does.evaluate(samples.x[position.sample], target)
                reply = replace(reply, flags=reply.flags | Flag.OUTLIER)
                logged = {} if self.asking is None else {"asked": False}
            elif self.asking is not None:
                exchange = self.asking.step(samples, position.sample)
                reply, logged = exchange.reply, exchange.logged()
            else:
                ahead = self._ahead(position)
                reply = self.client.train(samples.x[position.sample], target, ahead)
        except BoardError as error:
            raise BoardError(
                f"step {position.step + 1} of {len(self.order)} "
                f"(sample {position.sample} of {samples.source}): {error}"
            ) from error
        if self._note_reconnection(position.step):
            counted = None  # an emulator that was started anew counts from 0
        saved, self._saved = self._saved, None
        nameless = not is_mse and int(samples.y[position.sample]) < 0
        now = self.session.instructions()
        cycles = (reply.cycles_forward, reply.cycles_backward, reply.cycles_update)
        spent = tuple(b - a for a, b in zip(counted, now, strict=True)) if counted and now else None
        return Step(
            step=position.step,
            epoch=position.epoch,
            sample=position.sample,
            label=None if is_mse or nameless else int(samples.y[position.sample]),
            unlabelled=nameless and self.manifest.plan.loss in LABELLED,
            predicted=None if is_mse else reply.predicted,
            loss=finite(reply.loss),
            cycles=self.session.meter.cycles(cycles),
            instructions=cast("tuple[int, int, int] | None", spent),
            ms=self.session.meter.ms(sum(cycles)),
            mj=self.session.meter.mj(sum(cycles)),
            flags=int(reply.flags),
            saved=saved,
            **logged,
        )

    def _replay_epoch(self, epoch: int) -> None:
        """Learn as many samples as the cache holds."""
        counted = self.session.instructions()
        self._within_epoch = True
        done = epoch_from_cache(self.session, self.log.record.draw or "epochs", self.wish)
        self._within_epoch = False
        now = self.session.instructions()
        if self._note_reconnection(len(self.log.steps)):
            counted = None
        spent = tuple(b - a for a, b in zip(counted, now, strict=True)) if counted and now else None
        instructions = cast("tuple[int, int, int] | None", spent)
        replay = record_of(done, epoch, instructions, self.session.meter)
        self.log.update(replays=(*self.log.record.replays, replay))
        if replay.loss is None:
            raise self._diverged(f"in epoch {epoch + 1}")

    def _diverged(self, where: str) -> UserError:
        """The board must not keep weights that are not numbers: take it back to good ones."""
        why = bad_loss.why_not_finite(self.log.steps, self.samples)
        back = aside.put_back(self.session, self.log)
        return UserError(
            f"the loss {where} is not a finite number: {why} (the board is back at {back})"
        )

    def _last_event(self) -> Event | None:
        """A save just made."""
        if self._saved is None:
            return None
        return Event(step=len(self.log.steps), name="saved", generation=self._saved)

    def _tell(self) -> None:
        """Tell of what the host saw last."""
        if self.progress:
            done, event = len(self.log.steps), self.log.record.happened[-1]
            self.progress(Progress("learning", done, len(self.order), None, event))


def _has_restarted(error: BaseException | None) -> bool:
    """Whether a board answers that nobody has said HELLO: it has restarted."""
    while error is not None:
        if isinstance(error, RefusedError) and error.status is Status.NO_HELLO:
            return True
        error = error.__cause__
    return False
