"""Samples from files: `.npz` with `x` and `y`, or `.csv` where the model's input is flat.

`DATA.npz` holds `x` of shape (N, *model input without batch), any real numbers, and `y`: N class
numbers for loss cross-entropy, or (N, *model output without batch) numbers for loss mse.

Where the model has several inputs, `x` is (N, sum of their sizes), each sample the inputs one after
the other; or there is one array for each input, under its name.

`DATA.csv` holds one sample a row, separated by commas: the input's values, then the class number
in the last column (for loss mse: the target's values in the last columns). A first row is a header
where it holds words alone, or numbered columns 0, 1, 2, ... and a word for the last.

In projects that take samples without a label, these have the class number -1; if `y` is missing, no
sample has a label. For losses of reconstruction the class is 0 for a normal sample and 1 for an
anomaly; for reconstruction by cross-entropy all of `x` is from 0 to 1.

Where no labels are needed, as for calibration, both kinds of file may leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl.errors import DataError
from tinyodl.graph import Quantization, of_one_sample
from tinyodl.project.manifest import ANY_LABEL, Manifest, ModelRecord
from tinyodl.samples.files import (
    csv_rows,
    flat_size,
    inputs_in,
    member,
    open_npz,
    read_csv,
    read_npz,
    shaped,
    whole_numbers,
)


@dataclass(frozen=True)
class Samples:
    """Samples that fit a model.

    `x`: float32 (N, *input). `y`: int64 (N,) class numbers, or float32 (N, *output) for mse.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    source: str

    def __len__(self) -> int:
        return len(self.x)


def load(path: Path, manifest: Manifest) -> Samples:
    """The samples of a file, checked against the model; DataError says what does not fit."""
    if path.suffix.lower() == ".csv":
        return check(*read_csv(path, manifest), manifest, str(path))
    return check(*read_npz(path, manifest), manifest, str(path))


def load_inputs(
    path: Path, inputs: Mapping[str, tuple[int, ...]], output_shape: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """The samples of a file, (N, *input) by the input's name. Labels are optional, and left out.

    `inputs` and `output_shape` are the model's, with the batch dimension of 1. Raises DataError.
    """
    sizes = [prod(shape) for shape in inputs.values()]
    several = len(inputs) > 1
    shape = (sum(sizes),) if several else next(iter(inputs.values()))[1:]
    if path.suffix.lower() == ".csv":
        size = flat_size(path, shape)
        labels = {0, 1, prod(output_shape)}
        x: ArrayLike = csv_rows(path, {size + label for label in labels})[:, :size]
    else:
        with open_npz(path) as archive:
            x = inputs_in(archive, inputs if several else {}, path)
    checked = _check_inputs(x, shape, str(path))
    parts = np.split(checked.reshape(len(checked), -1), np.cumsum(sizes)[:-1], axis=1)
    return {
        name: np.ascontiguousarray(part).reshape(len(part), *inputs[name][1:])
        for name, part in zip(inputs, parts, strict=True)
    }


def load_labelled(
    path: Path, inputs: Mapping[str, tuple[int, ...]], classes: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """The samples of a file as `load_inputs` gives them, and their class numbers (N,)."""
    x = load_inputs(path, inputs, (1, 1))
    if path.suffix.lower() == ".csv":
        size = sum(prod(shape) for shape in inputs.values())
        y: NDArray[Any] = whole_numbers(csv_rows(path, {size + 1})[:, -1], path)
    else:
        with open_npz(path) as archive:
            y = member(archive, "y", path)
    count = len(next(iter(x.values())))
    return x, _check_classes(np.asarray(y), count, classes, str(path))


def check(
    x: ArrayLike, y: ArrayLike | None, manifest: Manifest, source: str = "the data"
) -> Samples:
    """Samples from arrays; `source` is what the message of a DataError begins with."""
    inputs = check_x(x, manifest, source)
    return Samples(inputs, _check_y(y, len(inputs), manifest, source), source)


def check_x(x: ArrayLike, manifest: Manifest, source: str = "the data") -> NDArray[np.float32]:
    """Inputs as float32 (N, *input); DataError when shape, type or a value does not fit."""
    array = _check_inputs(x, manifest.model.input_shape[1:], source)
    if manifest.plan.loss == "reconstruction-cross-entropy":
        check_fractions(array, f"{source}: x")
    return array


def check_fractions(x: NDArray[np.float32], what: str) -> None:
    """Raises DataError where samples (N, ...) that cross-entropy compares are not from 0 to 1."""
    wrong = ((x < 0) | (x > 1)).reshape(len(x), -1)
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size:
        row = int(rows[0])
        raise DataError(
            f"{what}[{row}] contains {x[row].reshape(-1)[wrong[row]][0]}, loss "
            f"reconstruction-cross-entropy needs numbers from 0 to 1; {rows.size} of {len(x)} rows "
            "are affected. Scale the samples, or take --loss reconstruction"
        )


def _check_inputs(x: ArrayLike, expected: tuple[int, ...], source: str) -> NDArray[np.float32]:
    array = _real_numbers(x, f"{source}: x")
    if array.ndim == 0 or array.shape[1:] != expected:
        raise DataError(
            f"{source}: x has shape {shaped(array.shape)}, "
            f"the model needs {shaped(('N', *expected))}"
        )
    if len(array) == 0:
        raise DataError(f"{source}: x is empty (shape {shaped(array.shape)})")
    return _finite(array, f"{source}: x")


def encoded(x: NDArray[np.float32], model: ModelRecord) -> bytes:
    """One sample as it is sent to the board: the inputs side by side, little-endian.

    Each begins at a multiple of its element's size. `x` has the model's input shape, with or
    without the batch dimension. Inputs that are int8 are quantised as ONNX's QuantizeLinear does,
    and saturate. An input that the board works on as it arrives goes row by row, each with all its
    channels.
    """
    if model.input_by_rows:
        x = x.reshape(model.input_shape[1:]).transpose(1, 0, 2)
    values = x.reshape(-1)
    raw = b""
    start = 0
    for name, shape in (model.inputs or {model.input_name: model.input_shape}).items():
        end = start + prod(shape)
        part = values[start:end]
        record = model.input_quantization.get(name)
        if record is None:
            raw += bytes(-len(raw) % 4) + part.astype("<f4").tobytes()
        else:
            raw += Quantization((record.scale,), record.zero_point).quantize(part).tobytes()
        start = end
    return raw


def _check_y(y: ArrayLike | None, count: int, manifest: Manifest, source: str) -> NDArray[Any]:
    if y is None and manifest.plan.may_be_unlabelled:
        y = np.full(count, -1)
    array = np.asarray(y)
    if manifest.plan.loss == "mse":
        expected = (count, *of_one_sample(manifest.model.output_shape))
        if array.shape != expected:
            raise DataError(
                f"{source}: y has shape {shaped(array.shape)}, loss mse needs {shaped(expected)}: "
                "one target for each sample of x, shaped like the model's output"
            )
        return _finite(_real_numbers(array, f"{source}: y"), f"{source}: y")
    classes = manifest.classes
    assert classes is not None
    least = -1 if manifest.plan.may_be_unlabelled else 0
    return _check_classes(array, count, classes, source, least=least)


def _check_classes(
    array: NDArray[Any], count: int, classes: int, source: str, *, least: int = 0
) -> NDArray[Any]:
    if array.shape != (count,):
        raise DataError(
            f"{source}: y has shape {shaped(array.shape)}, needed is {shaped((count,))}: "
            "one class number for each sample of x"
        )
    if array.dtype.kind not in "iub":
        raise DataError(
            f"{source}: y has type {array.dtype}, class numbers must be integers; "
            "convert it with y.astype(int)"
        )
    wrong = np.flatnonzero((array < least) | (array >= classes))
    if wrong.size:
        none = ", or -1 for no label" if least < 0 else ""
        there = "labels are" if classes == ANY_LABEL else "the model has classes"
        raise DataError(
            f"{source}: y[{wrong[0]}] is {array[wrong[0]]}, {there} 0 to "
            f"{classes - 1}{none}; {wrong.size} of {count} labels are out of range"
        )
    return array.astype(np.int64)


def _real_numbers(values: ArrayLike, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} has type {array.dtype}, needed are real numbers such as float32")
    return array


def _finite(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    """The array as float32; a number too large for it becomes infinite and is refused as such."""
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(result).reshape(len(result), -1).all(axis=1))
    if wrong.size:
        row = int(wrong[0])
        values = array[row].reshape(-1)
        value = values[~np.isfinite(result[row].reshape(-1))][0]
        raise DataError(
            f"{what}[{row}] contains {value}, needed are finite float32 numbers; "
            f"{wrong.size} of {len(result)} rows are affected"
        )
    return result
