"""Reading `.npz` and `.csv` files of samples; `tinyodl.samples.data` says what they hold."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.errors import DataError
from tinyodl.graph import of_one_sample
from tinyodl.project.manifest import Manifest

# The errors of zipfile, zlib and numpy on damaged or cut files.
_DAMAGE = (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, manifest: Manifest) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with open_npz(path) as archive:
        if manifest.plan.may_be_unlabelled and "y" not in archive.files:
            return inputs_in(archive, manifest.model.inputs, path), None
        return inputs_in(archive, manifest.model.inputs, path), member(archive, "y", path)


def inputs_in(archive: Any, inputs: Mapping[str, tuple[int, ...]], path: Path) -> NDArray[Any]:
    """`x`, or where there are several inputs, an array for each."""
    if inputs and ("x" in inputs or "x" not in archive.files):
        return _side_by_side({n: member(archive, n, path) for n in inputs}, inputs, path)
    return member(archive, "x", path)


@contextmanager
def open_npz(path: Path) -> Iterator[Any]:
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
                f"{path}: {name} has shape {shaped(array.shape)}, the model needs "
                f"{shaped(expected)}"
            )
    if len(counts) > 1:
        found = ", ".join(f"{name} {len(array)}" for name, array in given.items())
        raise DataError(f"{path}: the inputs have different numbers of samples ({found})")
    return np.concatenate([array.reshape(len(array), -1) for array in given.values()], axis=1)


def member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    if key not in archive.files:
        found = ", ".join(archive.files) or "nothing"
        raise DataError(f"{path}: has no array named {key}; found {found}")
    try:
        return np.asarray(archive[key])
    except _DAMAGE as error:
        raise DataError(f"{path}: {key} cannot be read ({error})") from error


def read_csv(path: Path, manifest: Manifest) -> tuple[NDArray[Any], NDArray[Any] | None]:
    size = flat_size(path, manifest.model.input_shape[1:])
    mse = manifest.plan.loss == "mse"
    targets = prod(manifest.model.output_shape) if mse else 1
    widths = {size, size + targets} if manifest.plan.may_be_unlabelled else {size + targets}
    rows = csv_rows(path, widths)
    x, y = rows[:, :size], rows[:, size:]
    if not y.shape[1]:
        return x, None
    if mse:
        return x, y.reshape(-1, *of_one_sample(manifest.model.output_shape))
    return x, whole_numbers(y[:, 0], path)


def whole_numbers(labels: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels != np.floor(labels)) | ~(np.abs(labels) < 2**31))
    if wrong.size:
        raise DataError(
            f"{path}: y[{wrong[0]}] is {labels[wrong[0]]}: the last column must hold class numbers"
        )
    return labels.astype(np.int64)


def flat_size(path: Path, shape: tuple[int, ...]) -> int:
    if len(shape) != 1:
        raise DataError(
            f"{path}: the model's input has shape {shaped(('N', *shape))}; CSV is for flat inputs, "
            "use .npz with x and y"
        )
    return shape[0]


def csv_rows(path: Path, columns: set[int]) -> NDArray[np.float64]:
    """The rows. All have as many columns as the first, and this is one of the given numbers."""
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


def shaped(shape: tuple[int | str, ...]) -> str:
    """(3,) as "(3)", the way a person writes it."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
