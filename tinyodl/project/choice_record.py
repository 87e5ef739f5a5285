"""How --update auto chose, as the manifest has it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CandidateRecord(BaseModel):
    """A plan that --update auto looked at; shares from 0 to 1, None where they are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    learns: str
    ram: int
    flash: int
    macs: int
    milliseconds: float | None
    millijoules: float | None
    value: float | None
    accuracy: float | None
    error: float | None
    verdict: str


class ChoiceRecord(BaseModel):
    """How --update auto chose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[CandidateRecord, ...]
    sentences: tuple[str, ...]
