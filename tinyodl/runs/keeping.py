"""Keeps the weights at the end of a run, or goes back to the earlier ones if it did harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.runs import aside, resuming
from tinyodl.runs.harm import Verdict
from tinyodl.runs.log import RunLog

if TYPE_CHECKING:
    from tinyodl.session.session import Session


def keep(session: Session, log: RunLog, verdict: Verdict, within_epoch: bool) -> None:
    """Save the board's state, or take it back, and note in the log which.

    `within_epoch`: it ends in an epoch from the cache, a place from which no run can go on.
    """
    log.update(verdict=verdict.sentence)
    if not verdict.harmed or log.record.save == "always":
        if within_epoch:
            log.update(saved=session.save(), checkpoint=None, saving=None)
        else:
            place = len(log.steps), len(log.record.replays)
            log.update(saved=resuming.save_here(session, log, *place))
    if verdict.harmed:
        log.update(error=f"this run did harm: {verdict.sentence}")
        give_up(session, log)


def give_up(session: Session, log: RunLog) -> None:
    """End a run that did harm: the board has the weights of before, unless all are saved."""
    if log.record.save == "always":
        told = "what it learned is on the board, as --save always says"
    else:
        back = aside.put_back(session, log)
        told = f"the board is back at {back}; --save always keeps what a run learned"
    log.update(status="harmed", error=f"{log.record.error}; {told}")
