"""An outlier, as a run's log and its readers have it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Outlier(BaseModel):
    """A sample far outside those before: predicted, and not learned. See `tinyodl.outliers`.

    `value` is the largest of its `input`, at this index; the samples before reach as far as
    `reach`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    sample: int  # row of the data file
    input: str | None  # where there are several
    index: tuple[int, ...]
    value: float
    reach: float

    @property
    def place(self) -> str:
        """Where the value is, in words."""
        at = str(self.index[0]) if len(self.index) == 1 else str(self.index)
        return f"{at} of {self.input}" if self.input else at

    def sentence(self, source: str) -> str:
        """What is said of it; `source` is what the data is called."""
        return (
            f"sample {self.sample} of {source}: value {self.value:.6g} at {self.place}, and those "
            f"before reach {self.reach:.6g}: it is predicted, not learned"
        )
