"""Learning from a board's cache, an epoch at a time."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinyodl.device.codes import Draw
from tinyodl.device.protocol import Replayed
from tinyodl.interrupt import Wish
from tinyodl.runs.options import Order
from tinyodl.runs.record import Replay, finite

if TYPE_CHECKING:
    from tinyodl.session.energy import Meter
    from tinyodl.session.session import Session

DRAWS: dict[Order, Draw] = {
    "epochs": Draw.EPOCHS,
    "uniform": Draw.UNIFORM,
    "balanced": Draw.BALANCED,
}
_MOST_BATCHES = 256  # the most the board takes in a request
_CYCLES_PER_MAC = 16  # to keep a request near a second: more than the kernels of heads need


def epoch_from_cache(session: Session, order: Order, wish: Wish) -> list[Replayed]:
    """Updates from as many samples as the cache holds, in requests of about a second.

    `order` is one of `Order`.
    """
    done: list[Replayed] = []
    while not done or sum(reply.samples for reply in done) < done[-1].held:
        wish.check()
        left = done[-1].held - sum(reply.samples for reply in done) if done else None
        done.append(session.client.replay(_batches(session, left), DRAWS[order]))
    return done


def _batches(session: Session, left: int | None) -> int:
    """Updates for the next request: about a second, and no more than `left` samples need."""
    manifest = session.manifest
    macs = manifest.macs.update + manifest.plan.batch * manifest.replay_macs
    second = int(session.meter.clock_hz / (_CYCLES_PER_MAC * max(macs, 1)))
    needed = -(-(manifest.cached_samples if left is None else left) // manifest.plan.batch)
    return max(1, min(second, needed, _MOST_BATCHES))


def record_of(
    done: Sequence[Replayed],
    epoch: int,
    instructions: tuple[int, int, int] | None,
    meter: Meter,
) -> Replay:
    """The log's record of an epoch: its samples, mean loss, cycles, time and energy."""
    samples = sum(reply.samples for reply in done)
    cycles = (
        sum(reply.cycles_forward for reply in done),
        sum(reply.cycles_backward for reply in done),
        sum(reply.cycles_update for reply in done),
    )
    return Replay(
        epoch=epoch,
        samples=samples,
        held=done[-1].held,
        loss=finite(sum(reply.loss * reply.samples for reply in done) / samples),
        cycles=meter.cycles(cycles),
        instructions=instructions,
        ms=meter.ms(sum(cycles)),
        mj=meter.mj(sum(cycles)),
        flags=int(functools.reduce(operator.or_, (reply.flags for reply in done))),
    )
