"""Samples from files: `.npz` with `x` and `y`, or `.csv` where the model's input is flat.

`DATA.npz` holds `x` of shape (N, *model input without batch), any real numbers, and `y`: N class
numbers for loss cross-entropy, or (N, *model output without batch) numbers for loss mse.

Where the model has several inputs, `x` is (N, sum of their sizes), each sample the inputs one after
the other; or there is one array for each input, under its name.

`DATA.csv` holds one sample a row, separated by commas: the input's values, then the class number
in the last column (for loss mse: the target's values in the last columns). A first row is a header
where it holds words alone, or numbered columns 0, 1, 2, ... and a word for the last.

Projects that take samples without a label know them by the class number -1; where `y` is missing,
all are. For losses of reconstruction the class is 0 for what is normal and 1 for an anomaly, and
for that by cross-entropy all of `x` is from 0 to 1.

Where no labels are needed, to calibrate, both kinds of file may do without them.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl.errors import DataError
from tinyodl.graph import Quantization
from tinyodl.manifest import ANY_LABEL, Manifest, ModelRecord


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
        return check(*_read_csv(path, manifest), manifest, str(path))
    return check(*_read_npz(path, manifest), manifest, str(path))


def load_inputs(
    path: Path, inputs: Mapping[str, tuple[int, ...]], output_shape: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """The samples of a file without their labels, which need not be there: (N, *input) by name.

    `inputs` and `output_shape` are those of the model, with the batch dimension of 1. Raises
    DataError.
    """
    sizes = [prod(shape) for shape in inputs.values()]
    several = len(inputs) > 1
    shape = (sum(sizes),) if several else next(iter(inputs.values()))[1:]
    if path.suffix.lower() == ".csv":
        size = _flat_size(path, shape)
        labels = {0, 1, prod(output_shape)}
        x: ArrayLike = _csv_rows(path, {size + label for label in labels})[:, :size]
    else:
        with _npz(path) as archive:
            x = _inputs_in(archive, inputs if several else {}, path)
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
        y: NDArray[Any] = _whole_numbers(_csv_rows(path, {size + 1})[:, -1], path)
    else:
        with _npz(path) as archive:
            y = _member(archive, "y", path)
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
            f"{source}: x has shape {_shape(array.shape)}, "
            f"the model needs {_shape(('N', *expected))}"
        )
    if len(array) == 0:
        raise DataError(f"{source}: x is empty (shape {_shape(array.shape)})")
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
        expected = (count, *manifest.model.output_shape[1:])
        if array.shape != expected:
            raise DataError(
                f"{source}: y has shape {_shape(array.shape)}, loss mse needs {_shape(expected)}: "
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
            f"{source}: y has shape {_shape(array.shape)}, needed is {_shape((count,))}: "
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
    """As float32; a number too large for it becomes infinite here and is refused as such."""
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


# What zipfile, zlib and numpy raise on files that were cut short or damaged.
_DAMAGE = (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def _read_npz(path: Path, manifest: Manifest) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with _npz(path) as archive:
        if manifest.plan.may_be_unlabelled and "y" not in archive.files:
            return _inputs_in(archive, manifest.model.inputs, path), None
        return _inputs_in(archive, manifest.model.inputs, path), _member(archive, "y", path)


def _inputs_in(archive: Any, inputs: Mapping[str, tuple[int, ...]], path: Path) -> NDArray[Any]:
    """`x`, or where there are several inputs, an array for each."""
    if inputs and ("x" in inputs or "x" not in archive.files):
        return _side_by_side({n: _member(archive, n, path) for n in inputs}, inputs, path)
    return _member(archive, "x", path)


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    """The open archive; DataError where the file is none, or damaged."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise DataError(
                    f"{path}: not an .npz file; make one with numpy.savez(path, x=..., y=...)"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged .npz file ({error})") from error


def _side_by_side(
    given: Mapping[str, NDArray[Any]], inputs: Mapping[str, tuple[int, ...]], path: Path
) -> NDArray[Any]:
    """One row for each sample, from an array for each input."""
    counts = {len(array) if array.ndim else 0 for array in given.values()}
    for name, array in given.items():
        expected: tuple[int | str, ...] = ("N", *inputs[name][1:])
        if array.ndim == 0 or array.shape[1:] != expected[1:]:
            raise DataError(
                f"{path}: {name} has shape {_shape(array.shape)}, the model needs "
                f"{_shape(expected)}"
            )
    if len(counts) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in given.items())
        raise DataError(f"{path}: the inputs have different numbers of samples ({found})")
    return np.concatenate([array.reshape(len(array), -1) for array in given.values()], axis=1)


def _member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    if key not in archive.files:
        found = ", ".join(archive.files) or "nothing"
        raise DataError(f"{path}: has no array named {key}; found {found}")
    try:
        return np.asarray(archive[key])
    except _DAMAGE as error:
        raise DataError(f"{path}: {key} cannot be read ({error})") from error


def _read_csv(path: Path, manifest: Manifest) -> tuple[NDArray[Any], NDArray[Any] | None]:
    size = _flat_size(path, manifest.model.input_shape[1:])
    mse = manifest.plan.loss == "mse"
    targets = prod(manifest.model.output_shape) if mse else 1
    widths = {size, size + targets} if manifest.plan.may_be_unlabelled else {size + targets}
    rows = _csv_rows(path, widths)
    x, y = rows[:, :size], rows[:, size:]
    if not y.shape[1]:
        return x, None
    if mse:
        return x, y.reshape(-1, *manifest.model.output_shape[1:])
    return x, _whole_numbers(y[:, 0], path)


def _whole_numbers(labels: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels != np.floor(labels)) | ~(np.abs(labels) < 2**31))
    if wrong.size:
        raise DataError(
            f"{path}: y[{wrong[0]}] is {labels[wrong[0]]}: the last column must hold class numbers"
        )
    return labels.astype(np.int64)


def _flat_size(path: Path, shape: tuple[int, ...]) -> int:
    if len(shape) != 1:
        raise DataError(
            f"{path}: the model's input has shape {_shape(('N', *shape))}; CSV is for flat inputs, "
            "use .npz with x and y"
        )
    return shape[0]


def _csv_rows(path: Path, columns: set[int]) -> NDArray[np.float64]:
    """The rows, all with one of these numbers of columns: that of the first row."""
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                try:
                    row = [float(cell) for cell in cells]
                except ValueError as error:
                    if reader.line_num == 1 and _is_header(cells):
                        continue
                    where = f"{path}: line {reader.line_num}"
                    raise DataError(f"{where}: {_bad_cell(cells)}") from error
                needed = columns if not rows else {len(rows[0])}
                if row and len(row) not in needed:
                    raise DataError(
                        f"{path}: line {reader.line_num} has {len(row)} columns, needed are "
                        f"{' or '.join(map(str, sorted(needed)))}: the input's values, then the "
                        "label"
                    )
                if row:
                    rows.append(row)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file of numbers ({error})") from error
    return np.array(rows, dtype=np.float64).reshape(
        len(rows), len(rows[0]) if rows else min(columns)
    )


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _is_header(cells: list[str]) -> bool:
    """Whether a row names columns: with words alone, or 0, 1, 2, ... and a word for the label."""
    *inputs, label = (cell.strip() for cell in cells)
    if inputs == [str(place) for place in range(len(inputs))]:
        return label.isidentifier()
    return any(cells) and all(_number(cell) is None for cell in cells)


def _bad_cell(cells: list[str]) -> str:
    """The first cell that is no number, and where it is."""
    place, cell = next((i, c) for i, c in enumerate(cells, start=1) if _number(c) is None)
    what = "is empty" if not cell.strip() else f"is {cell!r}"
    return f"column {place} {what}, needed is a number; fill it in, or delete the row"


def _shape(shape: tuple[int | str, ...]) -> str:
    """(3,) as "(3)", the way a person writes it."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
