"""The energy to send the samples away, instead of learning from them on the board.

    E = V * I * 8 * bytes / goodput

for all samples of a run as the board receives them, and for the learned weights on their way back.
Training elsewhere is taken to cost the board nothing, and a link to be there at once and without
loss: the comparison favours sending. V, I and the goodput are from the board's TOML or the user.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Storage
from tinyodl.project.manifest import Manifest, described_board
from tinyodl.runs.log import Run
from tinyodl.runs.record import Radio
from tinyodl.samples.data import encoded
from tinyodl.targets.boards import Board, load_board


@dataclass(frozen=True)
class Comparison:
    """A run's training on the board beside sending its data away. `mj` is estimated energy."""

    samples: int
    compute_ms: float
    compute_mj: float
    sent_bytes: int  # the samples
    returned_bytes: int  # the weights
    radio_ms: float
    radio_mj: float
    radio: Radio


def radio_of(board: Board, ua: float | None, bps: float | None) -> Radio | None:
    """The board's radio, or the one that the user describes; None where neither is known.

    Raises UserError where only one of microamperes and bits per second is given, or no supply.
    """
    if ua is None and bps is None:
        if board.radio is None:
            return None
        known = board.radio
        return Radio(supply_v=known.supply_v, ma=known.ma, bps=known.bps, source=known.source)
    if ua is None or bps is None or not (ua > 0 and bps > 0):
        raise UserError("--radio-ua and --radio-bps describe a radio together: give both, above 0")
    profile = board.radio or board.energy
    if profile is None:
        raise UserError(f"{board.title}: its TOML gives no supply voltage for a radio")
    return Radio(supply_v=profile.supply_v, ma=ua / 1e3, bps=bps, source="as given")


def sample_bytes(manifest: Manifest) -> int:
    """Bytes of a sample as the board receives it."""
    return len(encoded(np.zeros(manifest.model.input_shape, np.float32), manifest.model))


def comparison(run: Run) -> Comparison | None:
    """None where the time is not the board's, or its power or radio are not known."""
    radio, replay = run.record.radio, run.summary.replay
    energies = [step.mj for step in run.steps] + ([replay.mj] if replay else [])
    known = [energy for energy in energies if energy is not None]
    spent = [step.ms for step in run.steps] + ([replay.ms] if replay else [])
    times = [ms for ms in spent if ms is not None]
    if radio is None or not run.steps or len(known) < len(energies) or len(times) < len(spent):
        return None
    rows = {step.sample for step in run.steps}
    sent = len(rows) * sample_bytes(run.manifest)
    learned = [p.bytes for p in run.manifest.parameters if p.storage is Storage.PARAMETER]
    seconds = 8 * (sent + sum(learned)) / radio.bps
    return Comparison(
        samples=len(rows),
        compute_ms=sum(times),
        compute_mj=sum(known),
        sent_bytes=sent,
        returned_bytes=sum(learned),
        radio_ms=1e3 * seconds,
        radio_mj=radio.supply_v * radio.ma * seconds,
        radio=radio,
    )


def with_radio(run: Run, ua: float | None, bps: float | None) -> Run:
    """A run compared with the radio that the user describes. Raises UserError."""
    own = described_board(run.manifest) if run.manifest.board_file else None
    radio = radio_of(own or load_board(run.record.board), ua, bps)
    return replace(run, record=run.record.model_copy(update={"radio": radio}))
