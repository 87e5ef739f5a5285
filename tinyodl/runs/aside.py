"""The weights from before a run, to go back to, and the outcomes of the evaluation before it.

Usually the board's store has these weights. If the run saves while it learns, or began with weights
in no store, all parameters are read at its beginning into `before.npz` in the run's folder. The
folder also has the outcome of each sample in the evaluation before the run.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyodl.device.codes import State
from tinyodl.errors import UserError
from tinyodl.files.whole_files import write_whole
from tinyodl.graph import Array
from tinyodl.runs.evaluating import Outcomes
from tinyodl.runs.log import RunLog, RunLogError

if TYPE_CHECKING:
    from tinyodl.session.session import Session

WEIGHTS = "before.npz"
OUTCOMES = "evaluated.npz"


def keep_aside(session: Session, log: RunLog) -> None:
    """Read the board's parameters into the run's folder. Raises RunLogError."""
    arrays = {
        str(record.index): session.client.read_parameter(record.index)
        for record in session.manifest.parameters
    }
    _write(log.folder / WEIGHTS, arrays)


def put_back(session: Session, log: RunLog) -> str:
    """Take the board back to the weights of before the run; where they came from, for a message.

    Samples that the network keeps in flash stay. What the store had when the run began, it has
    again.
    """
    client, record = session.client, log.record
    generation = client.hello().generation
    path = log.folder / WEIGHTS
    if path.exists():
        with np.load(path) as arrays:
            for each in session.manifest.parameters:
                client.write_parameter(each.index, arrays[str(each.index)], finite=False)
        client.say_steps(record.steps_before)
        saved = generation != record.generation_before and session.save()
        return f"the weights of before it{', also in its store' if saved else ''}"
    if record.began_at is State.COMPILED or not generation:
        client.reset(forget=False)
        return "the weights of the ONNX file, as before it"
    client.restore()
    return "the weights in its store, as before it"


def keep_outcomes(log: RunLog, outcomes: Outcomes) -> None:
    """Write what came of each sample of the evaluation before. Raises RunLogError."""
    _write(log.folder / OUTCOMES, {"right": outcomes.right, "losses": outcomes.losses})


def outcomes_before(log: RunLog) -> Outcomes:
    """The outcomes written by `keep_outcomes`; UserError if the file is gone."""
    path = log.folder / OUTCOMES
    assert log.record.before is not None
    try:
        with np.load(path) as arrays:
            return Outcomes(arrays["right"], arrays["losses"], log.record.before)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: the evaluation before cannot be read ({error}); begin a new run"
        ) from error


def _write(path: Path, arrays: dict[str, Array]) -> None:
    """Write an archive so that at any moment either the whole file or none is there."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    try:
        write_whole(path, packed.getvalue())
    except OSError as error:
        raise RunLogError(
            f"{path.parent}: the run cannot be logged: {error.strerror or error}"
        ) from error
