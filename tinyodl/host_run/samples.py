"""Samples as a network in this process takes them: the bytes that a board gets, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl.errors import DataError
from tinyodl.graph import Array, Graph, Tensor, of_one_sample
from tinyodl.learning.tensors import sample_inputs
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full

Sample = ArrayLike | tuple[ArrayLike, ...]


@dataclass(frozen=True)
class Layout:
    """The inputs of a sample, in the order in which they lie side by side.

    `by_rows`: the only input comes row by row, each with all its channels.
    """

    inputs: tuple[Tensor, ...]
    by_rows: bool

    @classmethod
    def of(cls, training: Graph) -> Layout:
        """The layout of a training graph."""
        early = arriving(training)
        full = in_full(early, training) if early else training
        names = sample_inputs(full)
        return cls(tuple(full.tensor(name) for name in names), early is not None)

    def encoded(self, x: Sample, count: int) -> NDArray[np.uint8]:
        """`count` samples as (count, bytes). Raises DataError where the shape does not fit."""
        columns: list[NDArray[np.uint8]] = []
        width = 0
        for part, tensor in zip(self._parts(x, count), self.inputs, strict=True):
            array = _in_format(part, tensor)
            if self.by_rows:
                array = array.transpose(0, 2, 1, 3)
            gap = -width % tensor.itemsize
            if gap:
                columns.append(np.zeros((count, gap), np.uint8))
            columns.append(np.ascontiguousarray(array).reshape(count, -1).view(np.uint8))
            width += gap + tensor.nbytes
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _parts(self, x: Sample, count: int) -> list[Array]:
        """The inputs of each sample: arrays (count, *shape)."""
        sizes = [tensor.size for tensor in self.inputs]
        given: Sequence[Array] = [
            np.asarray(part) for part in (x if isinstance(x, tuple) else (x,))
        ]
        if len(given) == 1 and given[0].size == count * sum(sizes):
            given = np.split(given[0].reshape(count, -1), np.cumsum(sizes)[:-1], axis=1)
        if [part.size for part in given] != [count * size for size in sizes]:
            shapes = " and ".join(str(tensor.shape[1:]) for tensor in self.inputs)
            found = " and ".join(str(part.shape) for part in given)
            raise DataError(
                f"a sample of this network has shape {shapes}; given for {count} is {found}"
            )
        return [
            part.reshape(count, *tensor.shape[1:])
            for part, tensor in zip(given, self.inputs, strict=True)
        ]


def _in_format(values: Array, tensor: Tensor) -> Array:
    """Values in the number format of a tensor; real numbers for an int8 one are quantised."""
    if tensor.dtype == "int8" and values.dtype.kind == "f":
        assert tensor.quantization is not None
        return tensor.quantization.quantize(values)
    return values.astype(tensor.dtype, copy=False)


def labels_of(labels: ArrayLike | None, count: int) -> NDArray[np.int32]:
    """Labels (count,), zeros where none are given. Raises DataError."""
    array = np.zeros(count, np.int32) if labels is None else np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(
            f"labels are whole numbers, one for each of {count} samples; given is {array.dtype} "
            f"of shape {array.shape}"
        )
    return np.ascontiguousarray(array, np.int32)


def targets_of(targets: ArrayLike | None, target: Tensor | None, count: int) -> Array | None:
    """The target for `count` outputs, for loss mse. Raises DataError."""
    if target is None:
        return None
    array = np.ascontiguousarray(np.zeros(0) if targets is None else targets, np.float32)
    if array.size != count * target.size:
        raise DataError(
            f"loss mse needs a target of shape {of_one_sample(target.shape)} for each of {count} "
            f"samples; given is {'nothing' if targets is None else array.shape}"
        )
    return array
