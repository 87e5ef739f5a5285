"""From the options of a run to its record, its order and its log; and how a run ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tinyodl import __version__
from tinyodl.device.codes import State
from tinyodl.errors import BoardError, UserError
from tinyodl.interrupt import Interrupted, interruptible
from tinyodl.project.plan_file import load_plan
from tinyodl.runs import aside, resuming
from tinyodl.runs import log as runlog
from tinyodl.runs import summary as run_summary
from tinyodl.runs.log import RunLog, RunLogError
from tinyodl.runs.options import RunOptions
from tinyodl.runs.progress import OnProgress
from tinyodl.runs.record import EventName, RunRecord
from tinyodl.runs.running import Trainer
from tinyodl.runs.summary import RunSummary
from tinyodl.samples import raw_inputs
from tinyodl.samples.data import Samples
from tinyodl.samples.gate import OtherSamplesError, gating
from tinyodl.samples.order import Position, order_of
from tinyodl.select.choice import Choice, choice_of
from tinyodl.session.answering import Answers, Asking, answers
from tinyodl.session.linked import linked_firmware
from tinyodl.session.radio import radio_of

if TYPE_CHECKING:
    from tinyodl.session.session import Session


def run_session(
    session: Session,
    samples: Samples,
    tested: Samples | None,
    options: RunOptions,
    folder: Path | None,
    progress: OnProgress | None,
) -> RunSummary:
    """Stream the samples to the session's board and log the run in `folder`, or in a new one.

    Raises what `Session.train` raises.
    """
    manifest, client = session.manifest, session.client
    if options.draw != "epochs" and not manifest.cached_samples:
        raise UserError("the project keeps no cache to draw from: compile it with --cache N")
    if options.save_every is not None or options.resume is not None:
        resuming.require_able(manifest, session.board)
    if folder is not None:
        runlog.require_free(folder)
    answering = answers(manifest, options.query, options.teacher, options.silent)
    record = _record(session, samples, tested, options, answering)
    streamed = 1 if manifest.cached_samples else options.epochs
    order = list(order_of(len(samples), streamed, options.limit, options.shuffle))
    if options.resume is None:
        _check_room(session, samples, order)
        folder = runlog.claim_default(session.project) if folder is None else runlog.claim(folder)
        log = RunLog(folder, record, manifest)
    else:
        found = runlog.read(Path(options.resume))
        resuming.require_same(found.record, record, str(found.folder))
        log = RunLog.again(found)
        if log.record.status != "running":  # else an error says that it did harm
            log.update(status="running", error=None, finished=None)
    asking = Asking(client, answering) if answering else None
    try:
        if options.resume is None:
            _prepare(session, log)
        rows = [position.sample for position in order]
        gated = gating(client, manifest, samples, rows, keep=options.keep_outliers)
        with session.patient(), gated as gate, interruptible() as wish:
            trainer = Trainer(session, log, samples, order, tested, wish, progress, asking, gate)
            _watched(trainer, None if options.resume is None else "resumed")
    except RunLogError as error:
        if log.record.save_every is not None:
            raise
        kept = " and are saved in the board's store" if session.save() else ""
        raise RunLogError(
            f"{error}; the weights of {len(log.steps)} steps are on the board{kept}"
        ) from error
    except BaseException as error:
        told = _failed(log, error)
        if isinstance(error, BoardError):
            raise BoardError(told) from error
        raise
    log.update(finished=runlog.now())
    log.close()
    return run_summary.summarize(log.record, log.steps, log.folder)


def _failed(log: RunLog, error: BaseException) -> str:
    """Log what ended the run, and return it with the way on where the board is at fault."""
    told = str(error) or type(error).__name__
    if isinstance(error, BoardError):
        saved = log.record.checkpoint is not None
        how = "go on" if saved else "without --save-every it can only begin again,"
        told += f"; {how} with --resume {log.folder}"
    stopped = isinstance(error, KeyboardInterrupt)
    log.update(status="interrupted" if stopped else "failed", error=told, finished=runlog.now())
    return told


def _watched(trainer: Trainer, event: EventName | None) -> None:
    """Do the run. Ctrl-C ends it between two samples, and so do samples of other data.

    The weights learned so far are kept.
    """
    log = trainer.log
    try:
        trainer.all(event)
    except OtherSamplesError as error:
        learned = sum(not step.outlier for step in log.steps)
        if learned:
            trainer.keep(None)
        if not log.record.saved:
            raise
        raise OtherSamplesError(
            f"{error}; what the board learned from {learned} samples before is saved"
        ) from error
    except Interrupted:
        log.update(status="interrupted")
        if log.steps:
            trainer.keep(None)


def _prepare(session: Session, log: RunLog) -> None:
    """Read the weights of before the run, where the store will not have them."""
    if log.record.save_every is not None or log.record.began_at is State.CHANGED:
        aside.keep_aside(session, log)


def _record(
    session: Session,
    samples: Samples,
    tested: Samples | None,
    options: RunOptions,
    answering: Answers | None,
) -> RunRecord:
    """The log's record of a beginning run.

    The board gets its settings and learning rate; `options.reset` is done once it took these.
    """
    manifest, client, rate = session.manifest, session.client, options.learning_rate
    settings = {name: client.setting(name, value) for name, value in options.settings.items()}
    rate = client.learning_rate(manifest.plan.learning_rate if rate is None else rate)
    if options.reset and options.resume is None:  # which goes back to where the run began
        session.reset()
    if options.select is not None and options.resume is None:
        session.choose(_choice(session, samples, options.select))
    chosen = session.chosen()
    hello = client.hello()
    return RunRecord(
        tinyodl=__version__,
        status="running",
        started=runlog.now(),
        project=session.project.resolve().name,
        model_id=manifest.model_id,
        board=manifest.board,
        port=session.port,
        data=samples.source,
        samples_in_data=len(samples),
        eval_data=tested.source if tested else None,
        remarks=tuple(filter(None, [raw_inputs.remark(samples, manifest)])),
        data_digest=resuming.digest(samples),
        eval_digest=resuming.digest(tested) if tested else None,
        epochs=options.epochs,
        limit=options.limit,
        shuffle=options.shuffle,
        settings=settings,
        in_force={setting.name: client.setting(setting.name) for setting in manifest.settings},
        learning_rate=rate,
        radio=options.radio or radio_of(session.board, None, None),
        draw=options.draw if manifest.cached_samples else None,
        keep_outliers=options.keep_outliers,
        answered_by=answering.name if answering else None,
        save=options.save,
        save_every=options.save_every,
        chosen=None if chosen is None else dict(chosen),
        steps_before=hello.steps,
        began_at=hello.state,
        generation_before=hello.generation,
        clock_hz=session.meter.clock_hz,
        time_source=session.meter.time_source,
        energy_source=session.meter.energy_source,
        linked=linked_firmware(session.project, session.board),
    )


def _choice(session: Session, samples: Samples, select: str | Path) -> Choice:
    """What --select says: a plan file's choice, or the one that suits the samples."""
    if str(select) != "host":
        return choice_of(load_plan(Path(select)), session.manifest)
    from tinyodl.select.on_host import choose_on_host

    return choose_on_host(session.project, session.manifest, samples.x, samples.y)


def _check_room(session: Session, samples: Samples, order: list[Position]) -> None:
    """Raises UserError where the samples have more labels than there are free outputs."""
    known = session.labels()
    if session.manifest.plan.labels is None or known is None:
        return
    new = sorted({int(samples.y[position.sample]) for position in order} - {-1, *known})
    outputs = math.prod(session.manifest.model.output_shape)
    if len(known) + len(new) > outputs:
        raise UserError(
            f"{samples.source} has {len(new)} labels that are new to the board "
            f"({', '.join(map(str, new[:8]))}{', ...' if len(new) > 8 else ''}), and "
            f"{outputs - len(known)} of its {outputs} outputs are free; compile with "
            f"--max-classes {len(known) + len(new)} or more"
        )
