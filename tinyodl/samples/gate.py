"""The host's gate: it finds outliers, samples far outside all earlier ones, before sending them.

The rule is `tinyodl.learning.outliers`. The host follows the board's reach in the same arithmetic,
and sends an outlier for evaluation, not for learning. If the board calls a sample an outlier and
the host does not, the board is right, and the host reads the board's reach again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from math import prod

import numpy as np

from tinyodl.device.client import Client
from tinyodl.errors import BoardError, UserError
from tinyodl.learning.outliers import (
    FACTOR,
    IN_A_ROW,
    REACH,
    SETTING,
    are_outliers,
    first_reach,
    grown,
    peaks,
    reach_of_int8,
)
from tinyodl.project.manifest import Manifest
from tinyodl.runs.record import Outlier, Step
from tinyodl.samples.data import Samples


class OtherSamplesError(UserError):
    """Too many outliers in a row: they are other data, not faults."""


class Gate:
    """Which samples of a stream are outliers to a board; `None` from `look` for all others."""

    def __init__(self, client: Client, manifest: Manifest, samples: Samples) -> None:
        model = manifest.model
        self._client, self._samples = client, samples
        self._inputs = model.inputs or {model.input_name: model.input_shape}
        sizes = [prod(shape) for shape in self._inputs.values()]
        self._starts = np.concatenate(([0], np.cumsum(sizes)))
        self._peaks = peaks(samples.x, sizes)
        int8 = model.input_quantization
        self._on_board = np.array([name not in int8 for name in self._inputs])
        self._reach = np.zeros(len(sizes), np.float32)
        for place, name in enumerate(self._inputs):
            if name in int8:
                self._reach[place] = reach_of_int8(int8[name].scale, int8[name].zero_point)
        self._index = next((p.index for p in manifest.parameters if p.name == REACH), None)
        settings = [setting.name for setting in manifest.settings]
        factor = client.setting(SETTING) if SETTING in settings else FACTOR
        self._factor = np.float32(factor)
        self._in_a_row: list[int] = []

    def begin(self, rows: Sequence[int], steps: Sequence[Step] = ()) -> None:
        """Follow the board from here on; if it has seen nothing, these rows are its first.

        In a resumed run, `steps` are the earlier steps.
        """
        self.sync()
        before = takewhile(lambda step: step.outlier, reversed(steps))
        self._in_a_row = [step.sample for step in before][::-1]
        unseen = (self._reach == 0) & self._on_board
        if unseen.any() and self._index is not None:
            first = first_reach(self._peaks[list(rows)])
            self._reach[unseen] = first[unseen]
            self._client.write_parameter(self._index, self._reach[self._on_board])

    def sync(self) -> None:
        """Read the reach that the board has now."""
        if self._index is not None:
            self._reach[self._on_board] = self._client.read_parameter(self._index)

    def look(self, step: int, row: int) -> Outlier | None:
        """The sample of a row, if it is an outlier.

        Raises OtherSamplesError where it is the last of IN_A_ROW of them.
        """
        peak = self._peaks[row]
        far = are_outliers(peak, self._reach, self._factor)
        if not far.any():
            self._in_a_row = []
            self._reach[self._on_board] = grown(peak, self._reach)[self._on_board]
            return None
        return self._outlier(step, row, int(np.flatnonzero(far)[0]))

    def told(self, step: int, row: int) -> Outlier:
        """The sample of a row that the board itself has called an outlier."""
        self.sync()
        far = self._peaks[row] / np.maximum(self._reach, np.float32(1e-30))
        return self._outlier(step, row, int(far.argmax()))

    def _outlier(self, step: int, row: int, place: int) -> Outlier:
        name = list(self._inputs)[place]
        part = self._samples.x[row].reshape(-1)[self._starts[place] : self._starts[place + 1]]
        at = int(np.abs(part).argmax())
        found = Outlier(
            step=step,
            sample=row,
            input=name if len(self._inputs) > 1 else None,
            index=tuple(int(i) for i in np.unravel_index(at, self._inputs[name][1:])),
            value=float(part[at]),
            reach=float(self._reach[place]),
        )
        self._in_a_row.append(row)
        if len(self._in_a_row) == IN_A_ROW:
            raise self._other_samples(found, place)
        return found

    def _other_samples(self, last: Outlier, place: int) -> OtherSamplesError:
        rows = self._in_a_row
        on_board = self._on_board[place]
        before = "the samples before reach" if on_board else "the calibration reaches"
        return OtherSamplesError(
            f"these samples do not look like those before: {IN_A_ROW} in a row are outliers, rows "
            f"{', '.join(map(str, rows))} of {self._samples.source}. Row {last.sample} has "
            f"{last.value:.6g} at {last.place}; {before} {last.reach:.6g}, and more than "
            f"{self._factor:g} times that is not learned. Scale the samples as those before "
            "(units, normalisation: see the model's card); give --reset if those before were "
            "the wrong ones; or learn from all with --keep-outliers"
        )


@contextmanager
def gating(
    client: Client, manifest: Manifest, samples: Samples, rows: Sequence[int], *, keep: bool
) -> Iterator[Gate | None]:
    """The gate of a run over these rows; None where the plan, or `keep`, learns from all.

    To keep outliers, the board's factor is 0 until the end.
    """
    settings = [setting.name for setting in manifest.settings]
    if not manifest.parameters or manifest.plan.outliers == "keep":
        yield None
        return
    if not keep:
        gate = Gate(client, manifest, samples)
        gate.begin(rows)
        yield gate
        return
    if SETTING not in settings:
        yield None
        return
    factor = client.setting(SETTING)
    client.setting(SETTING, 0.0)
    try:
        yield None
    finally:
        with suppress(BoardError):  # one that is gone begins with the compiled factor
            client.setting(SETTING, factor)
