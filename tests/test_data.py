"""Samples are taken as they are or refused with a sentence that says what is wrong where."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import manifest
from tinyodl.errors import DataError
from tinyodl.project import manifest as mf
from tinyodl.samples import data

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def refusal(x: object, y: object, **plan: object) -> str:
    with pytest.raises(DataError) as caught:
        data.check(x, y, manifest(**plan))  # type: ignore[arg-type]
    return str(caught.value)


def test_an_npz_file_gives_float32_inputs_and_integer_labels(tmp_path: Path) -> None:
    samples = data.load(npz(tmp_path / "d.npz", x=X.astype(np.float64), y=Y.astype(np.uint8)),
                        manifest())  # fmt: skip
    assert samples.x.dtype == np.float32 and samples.y.dtype == np.int64
    np.testing.assert_array_equal(samples.x, X)
    np.testing.assert_array_equal(samples.y, Y)
    assert len(samples) == 6


def test_integer_inputs_such_as_pixels_are_numbers_too() -> None:
    assert data.check(X.astype(np.uint8), Y, manifest()).x.dtype == np.float32


def test_a_wrong_input_shape_is_named_with_the_needed_one() -> None:
    assert "x has shape (6, 3), the model needs (N, 2)" in refusal(np.zeros((6, 3)), Y)
    assert "x has shape ()" in refusal(1.0, Y)


def test_no_samples_at_all_are_refused() -> None:
    assert "x is empty" in refusal(X[:0], Y[:0])


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e39, "1e+39")])
def test_a_value_that_is_not_a_finite_float32_is_found_in_its_row(value: float, name: str) -> None:
    x = X.astype(np.float64)
    x[4, 1] = value
    message = refusal(x, Y)
    assert f"x[4] contains {name}" in message and "1 of 6 rows" in message


def test_inputs_that_are_not_numbers_are_refused() -> None:
    assert "x has type <U" in refusal(X.astype(str), Y)
    assert "x has type complex" in refusal(X.astype(complex), Y)


@pytest.mark.parametrize("bad", [3, -1])
def test_the_first_label_out_of_range_is_named(bad: int) -> None:
    y = Y.copy()
    y[2] = bad
    assert f"y[2] is {bad}, the model has classes 0 to 2; 1 of 6" in refusal(X, y)


def test_labels_must_be_one_integer_a_sample() -> None:
    assert "y has shape (5), needed is (6)" in refusal(X, Y[:5])
    assert "y has shape (6, 1)" in refusal(X, Y[:, None])
    assert "y has type float64" in refusal(X, Y.astype(float))


def test_mse_targets_have_the_shape_of_the_output() -> None:
    target = np.ones((6, 3))
    assert data.check(X, target, manifest(loss="mse")).y.dtype == np.float32
    assert "y has shape (6), loss mse needs (6, 3)" in refusal(X, Y, loss="mse")
    target[5, 0] = np.nan
    assert "y[5] contains nan" in refusal(X, target, loss="mse")


def test_a_file_that_is_missing_or_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz: No such file"):
        data.load(tmp_path / "none.npz", manifest())
    with pytest.raises(DataError, match="directory"):
        data.load(tmp_path, manifest())
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(DataError, match=r"one\.npy: not an \.npz file"):
        data.load(tmp_path / "one.npy", manifest())


def test_a_missing_array_is_named_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no array named y; found x, labels"):
        data.load(npz(tmp_path / "d.npz", x=X, labels=Y), manifest())
    with pytest.raises(DataError, match="no array named x; found nothing"):
        data.load(npz(tmp_path / "d.npz"), manifest())


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", x=np.array([object()], dtype=object), y=Y)
    with pytest.raises(DataError, match="x cannot be read"):
        data.load(path, manifest())


def small_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=X, y=Y)
    return buffer.getvalue()


ARCHIVE = small_archive()


@given(cut=st.integers(0, len(ARCHIVE) - 1))
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(ARCHIVE[:cut])
    with pytest.raises(DataError):
        data.load(path, manifest())


@given(at=st.integers(0, len(ARCHIVE) - 1), byte=st.integers(0, 255))
@settings(max_examples=400)
def test_a_damaged_byte_is_refused_or_does_no_harm(tmp_path: Path, at: int, byte: int) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(ARCHIVE[:at] + bytes([byte]) + ARCHIVE[at + 1 :])
    try:
        samples = data.load(path, manifest())
    except DataError:
        return
    np.testing.assert_array_equal(samples.x, X)
    np.testing.assert_array_equal(samples.y, Y)


def test_csv_rows_end_with_the_class_number(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("0.5,1,2\n-3e2,4,0\n\n")
    samples = data.load(path, manifest())
    np.testing.assert_array_equal(samples.x, [[0.5, 1], [-300, 4]])
    np.testing.assert_array_equal(samples.y, [2, 0])


def test_csv_may_begin_with_names_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("\ufeffa,b,label\n1,2,0\n", encoding="utf-8")
    assert len(data.load(path, manifest())) == 1


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("0.5,,1", "line 1: column 2 is empty"),
        (",0.5,1", "line 1: column 1 is empty"),
        ("0.5,n/a,1", "line 1: column 2 is 'n/a'"),
        ("0.5,1.0,cat", "line 1: column 3 is 'cat'"),
        (",,", "line 1: column 1 is empty"),
        ("0.5,1.2.3,1", "line 1: column 2 is '1.2.3'"),
    ],
)
def test_a_first_row_with_a_bad_cell_is_no_header(tmp_path: Path, first: str, message: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"{first}\n0.25,0.5,2\n")
    with pytest.raises(DataError, match=re.escape(message)):
        data.load(path, manifest(input_shape=(1, 2)))


@pytest.mark.parametrize("header", ["a,b,label", "x 1,,y", "0,1,label", '"a,1",b,c'])
def test_a_first_row_of_words_is_one(tmp_path: Path, header: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"{header}\n0.25,0.5,2\n")
    assert len(data.load(path, manifest(input_shape=(1, 2)))) == 1


def test_csv_targets_for_mse_are_the_last_columns(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("1,2,0.1,0.2,0.3\n")
    samples = data.load(path, manifest(loss="mse"))
    np.testing.assert_allclose(samples.y, [[0.1, 0.2, 0.3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,0\n1,x,0\n", "line 2: column 2 is 'x', needed is a number"),
        ("1,2,0\n1,2\n", "line 2 has 2 columns, needed are 3"),
        ("1,2,0.5\n", r"y\[0\] is 0.5"),
        ("1,2,nan\n", r"y\[0\] is nan"),
        ("1,2,3\n", r"y\[0\] is 3"),
        ("1,nan,0\n", r"x\[0\] contains nan"),
        ("", "x is empty"),
    ],
)
def test_a_csv_error_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        data.load(path, manifest())


def test_csv_is_refused_where_the_input_is_not_flat(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CSV is for flat inputs"):
        data.load(tmp_path / "d.csv", manifest(input_shape=(1, 6, 1, 100)))


def test_a_binary_file_named_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a CSV file"):
        data.load(path, manifest())


def test_a_sample_is_sent_as_its_inputs_side_by_side_and_quantised_where_they_are_int8() -> None:
    model = manifest((1, 5)).model.model_copy(
        update={
            "inputs": {"a": (1, 1), "b": (1, 3), "c": (1, 1)},
            "input_quantization": {"b": mf.QuantizationRecord(scale=0.5, zero_point=1)},
        }
    )
    x = np.array([[0.1, 0.25, 0.75, -1e9, 7]], np.float32)
    raw = data.encoded(x, model)
    np.testing.assert_array_equal(np.frombuffer(raw[:4] + raw[8:], "<f4"), x[0, [0, 4]])
    np.testing.assert_array_equal(np.frombuffer(raw[4:8], np.int8), [1, 3, -128, 0])


class TestInputsAlone:
    """What --calibrate reads."""

    def test_labels_need_not_be_there(self, tmp_path: Path) -> None:
        for arrays in ({"x": X}, {"x": X, "y": "anything"}):
            found = data.load_inputs(npz(tmp_path / "d.npz", **arrays), {"x": (1, 2)}, (1, 3))
            assert found["x"].dtype == np.float32
            np.testing.assert_array_equal(found["x"], X)

    def test_several_inputs_are_told_apart(self, tmp_path: Path) -> None:
        inputs = {"a": (1, 2), "b": (1, 3, 1)}
        a, b = X[:, :2], np.arange(18).reshape(6, 3, 1)
        for arrays in (
            {"a": a, "b": b},
            {"x": np.concatenate([a, b.reshape(6, 3)], axis=1)},
        ):
            found = data.load_inputs(npz(tmp_path / "d.npz", **arrays), inputs, (1, 3))
            np.testing.assert_array_equal(found["a"], a)
            np.testing.assert_array_equal(found["b"], b)

    @pytest.mark.parametrize("line", ["1,2", "1,2,0", "1,2,5,6,7"])
    def test_csv_rows_begin_with_the_input(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "d.csv"
        path.write_text(f"{line}\n{line}\n")
        found = data.load_inputs(path, {"x": (1, 2)}, (1, 3))
        np.testing.assert_array_equal(found["x"], [[1, 2], [1, 2]])

    def test_what_does_not_fit_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "d.csv"
        for text, message in (("1,2,3,4\n", "needed are 2 or 3 or 5"), ("1,2\n1,2,3\n", "line 2")):
            path.write_text(text)
            with pytest.raises(DataError, match=message):
                data.load_inputs(path, {"x": (1, 2)}, (1, 3))
        with pytest.raises(DataError, match=r"x has shape \(6, 2\), the model needs \(N, 3\)"):
            data.load_inputs(npz(tmp_path / "d.npz", x=X), {"x": (1, 3)}, (1, 3))
        with pytest.raises(DataError, match=r"x\[5\] contains nan"):
            x = np.where(X == 11, np.nan, X)
            data.load_inputs(npz(tmp_path / "d.npz", x=x), {"x": (1, 2)}, (1, 3))
