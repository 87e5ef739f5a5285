"""exp and log of the kernels: accurate over their whole range, and never undefined."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from tinyodl.firmware import C_FLAGS
from tinyodl.resources import TEMPLATES

_SOURCE = """
#include "math_f32.h"
void exp_all(int n, const float *x, float *y) { for (int i = 0; i < n; i++) y[i] = exp_f32(x[i]); }
void log_all(int n, const float *x, float *y) { for (int i = 0; i < n; i++) y[i] = log_f32(x[i]); }
void exp_all(int n, const float *x, float *y);
void log_all(int n, const float *x, float *y);
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("math")
    (folder / "math.c").write_text(_SOURCE)
    flags = [*C_FLAGS, "-shared", "-fPIC", f"-I{TEMPLATES / 'kernels'}"]
    subprocess.run(["gcc", *flags, "-o", folder / "math.so", folder / "math.c"], check=True)
    return ctypes.CDLL(str(folder / "math.so"))


def apply(function, x):
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
    function(x.size, *pointers)
    return y


def ulps(found, expected):
    """The error in units of the last place of the true value."""
    spacing = np.spacing(expected.astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - expected) / spacing


def test_exp_is_within_two_units_of_the_last_place(library):
    x = np.linspace(-87.3, 88.7, 2_000_001, dtype=np.float32)
    assert ulps(apply(library.exp_all, x), np.exp(x.astype(np.float64))).max() < 2


def test_log_is_within_two_units_of_the_last_place(library):
    x = np.concatenate(
        [
            np.geomspace(1.2e-38, 3.4e38, 1_000_001).astype(np.float32),
            np.linspace(0.5, 2, 1_000_001, dtype=np.float32),
        ]
    )
    x = x[x != 1]
    assert ulps(apply(library.log_all, x), np.log(x.astype(np.float64))).max() < 2
    assert apply(library.log_all, [1.0])[0] == 0


def test_exp_saturates_instead_of_overflowing(library):
    y = apply(library.exp_all, [-np.inf, -1e30, -88.0, 0.0, 89.0, 1e30, np.inf])
    assert y.tolist() == [0, 0, 0, 1, *[np.finfo(np.float32).max] * 3]


def test_exp_of_nan_is_a_number(library):
    """No conversion of NaN to an integer, which every machine does in its own way."""
    assert apply(library.exp_all, [np.nan])[0] == 0
