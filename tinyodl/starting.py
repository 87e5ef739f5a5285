"""From the options of a run to its record, its order and its log; and how a run ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tinyodl import __version__, runlog
from tinyodl.asking import Asking, answers
from tinyodl.data import Samples
from tinyodl.errors import UserError
from tinyodl.interrupt import Interrupted, interruptible
from tinyodl.linked import linked_firmware
from tinyodl.radio import radio_of
from tinyodl.run_options import RunOptions
from tinyodl.runlog import RunLog, RunLogError, RunRecord, RunSummary
from tinyodl.running import OnProgress, Place, Run, order_of

if TYPE_CHECKING:
    from tinyodl.stream import Session


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
    if options.draw != "epochs" and not manifest.plan.cache:
        raise UserError("the project keeps no cache to draw from: compile it with --cache N")
    if folder is not None:
        runlog.require_free(folder)
    answering = answers(manifest, options.query, options.teacher, options.silent)
    record = _record(session, samples, tested, options)
    streamed = 1 if manifest.plan.cache else options.epochs
    order = list(order_of(len(samples), streamed, options.limit, options.shuffle))
    _check_room(session, samples, order)
    folder = runlog.claim_default(session.project) if folder is None else runlog.claim(folder)
    log = RunLog(folder, record, manifest)
    asking = Asking(client, answering) if answering else None
    try:
        with interruptible() as wish:
            Run(session, log, samples, order, tested, wish, progress, asking).all()
    except Interrupted:
        log.update(status="interrupted", saved=bool(log.steps) and session.save())
    except RunLogError as error:
        kept = " and are saved in the board's store" if session.save() else ""
        raise RunLogError(
            f"{error}; the weights of {len(log.steps)} steps are on the board{kept}"
        ) from error
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        log.update(
            status="interrupted" if stopped else "failed",
            error=str(error) or type(error).__name__,
            finished=runlog.now(),
        )
        raise
    log.update(finished=runlog.now())
    log.close()
    return runlog.summarize(log.record, log.steps, folder)


def _record(
    session: Session, samples: Samples, tested: Samples | None, options: RunOptions
) -> RunRecord:
    """What the log says of a run that begins; the board takes its settings and learning rate."""
    manifest, client, rate = session.manifest, session.client, options.learning_rate
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
        epochs=options.epochs,
        limit=options.limit,
        shuffle=options.shuffle,
        settings={name: client.setting(name, value) for name, value in options.settings.items()},
        learning_rate=client.learning_rate(manifest.plan.learning_rate if rate is None else rate),
        radio=options.radio or radio_of(session.board, None, None),
        draw=options.draw if manifest.plan.cache else None,
        steps_before=client.statistics().steps,
        clock_hz=session.meter.clock_hz,
        time_source=session.meter.time_source,
        energy_source=session.meter.energy_source,
        linked=linked_firmware(session.project, session.board),
    )


def _check_room(session: Session, samples: Samples, order: list[Place]) -> None:
    """Raises UserError where the samples have more labels than there are free outputs."""
    known = session.labels()
    if session.manifest.plan.labels is None or known is None:
        return
    new = sorted({int(samples.y[place.sample]) for place in order} - {-1, *known})
    outputs = math.prod(session.manifest.model.output_shape)
    if len(known) + len(new) > outputs:
        raise UserError(
            f"{samples.source} has {len(new)} labels that are new to the board "
            f"({', '.join(map(str, new[:8]))}{', ...' if len(new) > 8 else ''}), and "
            f"{outputs - len(known)} of its {outputs} outputs are free; compile with "
            f"--max-classes {len(known) + len(new)} or more"
        )
