"""The state of a network in this process between steps: read, replaced, saved and restored."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from tinyodl.errors import DataError, UserError
from tinyodl.graph import Array, Tensor
from tinyodl.host_run.library import read_buffer, write_buffer
from tinyodl.learning.beside.record import Setting


@dataclass(frozen=True)
class Saved:
    """The state of a network between steps: tensors by name, settings, and its flash."""

    parameters: Mapping[str, bytes]
    settings: Mapping[str, float]
    learning_rate: float
    flash: tuple[bytes, ...]


class HostState:
    """A loaded network's tensors, settings and learning rate. `library` has all functions of net.h.

    `parameters` are the tensors that are kept between steps, in the order of net_parameters.
    """

    def __init__(
        self, library: ctypes.CDLL, parameters: Sequence[Tensor], settings: Iterable[Setting]
    ) -> None:
        """In the state as compiled."""
        self.parameters = parameters
        self._settings = {setting.name: setting for setting in settings}
        self._library: ctypes.CDLL | None = library
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the library. The network cannot be used any more."""
        self._library = None

    @property
    def library(self) -> ctypes.CDLL:
        """The functions of net.h. Raises UserError once the network is closed."""
        if self._library is None:
            raise UserError("this HostNetwork is closed; make another one")
        return self._library

    def reset(self) -> None:
        """Back to the weights of the ONNX file, and to the plan's settings and learning rate."""
        self.library.net_reset()

    def parameter(self, name: str) -> Array:
        """A copy of a tensor of `parameters`. Raises UserError where there is none of that name."""
        index = self._index(name)
        return self._read("net_parameters", index, self.parameters[index])

    def write_parameter(self, name: str, values: ArrayLike) -> None:
        """Replaces a tensor of `parameters`. Raises DataError unless shape and dtype are its own.

        Real numbers for a float32 tensor may come in any float dtype.
        """
        index = self._index(name)
        tensor = self.parameters[index]
        array = np.asarray(values)
        if tensor.dtype == "float32" and array.dtype.kind == "f":
            array = array.astype(np.float32)
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise DataError(
                f"parameter {name!r} is {tensor.dtype} of shape {tensor.shape}, the values are "
                f"{array.dtype} of shape {array.shape}"
            )
        write_buffer(self.library, "net_parameters", index, array.tobytes())

    def state(self) -> dict[str, bytes]:
        """All of `parameters` as bytes, by name."""
        return {
            tensor.name: read_buffer(self.library, "net_parameters", index)
            for index, tensor in enumerate(self.parameters)
        }

    def save(self) -> Saved:
        """The whole state between steps; `restore` goes back to it, any number of times."""
        return Saved(
            parameters=self.state(),
            settings={name: self.setting(name) for name in self._settings},
            learning_rate=self.learning_rate(),
            flash=tuple(read_buffer(self.library, "host_flash", index) for index in range(2)),
        )

    def restore(self, saved: Saved) -> None:
        """Goes back to a state of this network, or to that of one compiled from the same graph.

        A question without an answer and the last output are lost. Raises DataError where the state
        is another network's.
        """
        names = [tensor.name for tensor in self.parameters]
        if names != list(saved.parameters) or list(self._settings) != list(saved.settings):
            raise DataError("the saved state is that of a network with other parameters")
        for index, raw in enumerate(saved.flash):
            write_buffer(self.library, "host_flash", index, raw)
        self.library.host_recover()
        for index, raw in enumerate(saved.parameters.values()):
            write_buffer(self.library, "net_parameters", index, raw)
        for name, value in saved.settings.items():
            self.setting(name, value)
        self.learning_rate(saved.learning_rate)

    def learning_rate(self, rate: float | None = None) -> float:
        """The learning rate of the steps to come; sets it first when one is given."""
        if rate is not None:
            if not (np.isfinite(np.float32(rate)) and rate >= 0):
                raise DataError(f"learning rate {rate} is not a finite number that is at least 0")
            self.library.net_set_learning_rate(rate)
        return float(self.library.net_learning_rate())

    def setting(self, name: str, value: float | None = None) -> float:
        """A setting of the plan's features; sets it first when a value is given.

        Raises DataError for a name that there is not, and for a value out of its range.
        """
        if name not in self._settings:
            known = ", ".join(self._settings) or "none"
            raise DataError(f"this network has no setting {name!r}; it has {known}")
        held = (ctypes.c_float * len(self._settings)).in_dll(self.library, "net_settings")
        index = list(self._settings).index(name)
        if value is not None:
            record = self._settings[name]
            if not record.least <= np.float32(value) <= record.most:
                raise DataError(
                    f"setting {name} = {value}: give a number from {record.least:g} to "
                    f"{record.most:g}"
                )
            held[index] = value
        return float(held[index])

    def _index(self, name: str) -> int:
        names = [tensor.name for tensor in self.parameters]
        if name not in names:
            raise UserError(f"this network keeps no {name!r}; it keeps {', '.join(names)}")
        return names.index(name)

    def _read(self, table: str, index: int, tensor: Tensor) -> Array:
        raw = read_buffer(self.library, table, index)
        made: Array = np.frombuffer(raw, tensor.dtype).copy().reshape(tensor.shape)
        return made
