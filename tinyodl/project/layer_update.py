"""A plan's entry for one layer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Updates = Literal["none", "bias", "weights", "statistics", "candidate"]

Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Channels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class ChannelUpdate(BaseModel):
    """A layer of which only some channels learn their weights, and all their bias.

    Either `inputs` or `outputs`: the numbers of channels of the layer's input or output, or the
    share of them that learns, from above 0 to 1; which those are is then chosen by magnitude.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Share | Channels | None = None
    outputs: Share | Channels | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.inputs is None) == (self.outputs is None):
            raise ValueError("give either inputs or outputs: a share or a list of channels")
        return self

    @property
    def side(self) -> Literal["inputs", "outputs"]:
        """Which channels are meant."""
        return "outputs" if self.inputs is None else "inputs"

    @property
    def chosen(self) -> float | tuple[int, ...]:
        """The share or the channels of that side."""
        return self.inputs or self.outputs or ()


def _form(value: object) -> str:
    """How an update is written: errors then speak of that form alone."""
    return "word" if isinstance(value, str) else "channels"


LayerUpdate = Annotated[
    Annotated[Updates, Tag("word")] | Annotated[ChannelUpdate, Tag("channels")],
    Discriminator(_form),
]
