"""The board and a choice: which channels of the project's candidates learn, read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyodl.errors import BoardError, UserError
from tinyodl.graph import Array
from tinyodl.ops.shared.candidate import PLAN
from tinyodl.select.choice import Choice, check, decoded, encoded, refusal

if TYPE_CHECKING:
    from tinyodl.session.session import Session


def choose(session: Session, choice: Choice) -> None:
    """Let these channels learn, from the weights of the ONNX file on.

    What was learned of candidates before is gone; the other layers stay as they are. Raises
    UserError where the project has no candidates, or the choice does not suit them, and BoardError
    where the board refuses it.
    """
    manifest = session.manifest
    if not manifest.candidates:
        raise UserError(
            "the project was compiled with all that learns: there is nothing to choose; compile it "
            "with --update device"
        )
    check(choice, manifest)
    index = plan_index(session)
    session.client.write_parameter(index, encoded(choice, manifest))
    session.client.flush()
    why = refusal(_plan(session), manifest)
    if why is not None:
        raise BoardError(f"the board refuses what was chosen: {why}; compile and flash it again")


def chosen(session: Session) -> Choice | None:
    """What is chosen on the board now; None where the project has no candidates."""
    return decoded(_plan(session), session.manifest) if session.manifest.candidates else None


def plan_index(session: Session) -> int:
    """The number of the parameter that says what is chosen."""
    return next(each.index for each in session.manifest.parameters if each.name == PLAN)


def _plan(session: Session) -> Array:
    return session.client.read_parameter(plan_index(session))
