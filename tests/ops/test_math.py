"""The functions of the kernels: accurate over their whole range, and never undefined."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys

import numpy as np
import pytest

from tinyodl.resources import TEMPLATES
from tinyodl.targets.firmware import C_FLAGS

FUNCTIONS = ("exp", "expm1", "sigmoid", "tanh", "log", "any_log", "log1p", "softplus", "erf")
_EACH = """
void {0}_all(int n, const float *x, float *y);
void {0}_all(int n, const float *x, float *y)
{{ for (int i = 0; i < n; i++) y[i] = {0}_f32(x[i]); }}
"""
_POWER = """
void power_all(int n, int halves, float rest, const float *x, float *y);
void power_all(int n, int halves, float rest, const float *x, float *y)
{ for (int i = 0; i < n; i++) y[i] = power_f32(x[i], halves, rest); }
"""


def build(folder, *compiler):
    source = "".join(_EACH.format(name) for name in FUNCTIONS) + _POWER
    (folder / "math.c").write_text(f'#include "math_f32.h"\n{source}')
    flags = [*C_FLAGS, "-shared", "-fPIC", f"-I{TEMPLATES / 'kernels'}"]
    subprocess.run([*compiler, *flags, "-o", folder / "math.so", folder / "math.c"], check=True)
    return ctypes.CDLL(str(folder / "math.so"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("math"), "gcc")


def apply(function, x, *numbers):
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
    function(x.size, *numbers, *pointers)
    return y


def ulps(found, expected):
    """The error in units of the last place of the true value."""
    spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
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


# What each is, and where it is swept: over its range, and closely around the seams of its pieces.
SWEPT = {
    "expm1": (np.expm1, 2, [(-20, 88.7), (-1, 1), (-1e-3, 1e-3)]),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 3, [(-87, 87), (-1, 1)]),
    "tanh": (np.tanh, 2, [(-12, 12), (-1, 1), (0.6, 0.65), (-1e-3, 1e-3)]),
    "log1p": (np.log1p, 3, [(-0.99, 2), (-1e-3, 1e-3), (0, 1e6)]),
    "softplus": (lambda x: np.logaddexp(x, 0), 3, [(-87, 100), (-1, 1)]),
    "erf": (np.vectorize(math.erf), 3, [(-5, 5), (-1e-3, 1e-3), (0.95, 1.05), (1.95, 2.05)]),
}


@pytest.mark.parametrize("name", SWEPT)
def test_within_a_few_units_of_the_last_place(library, name):
    reference, units, ranges = SWEPT[name]
    for low, high in ranges:
        x = np.linspace(low, high, 200_001, dtype=np.float32)
        x = x[x != 0]
        found = apply(getattr(library, f"{name}_all"), x)
        assert ulps(found, reference(x.astype(np.float64))).max() < units, (low, high)


@pytest.mark.parametrize("name", [name for name in SWEPT if name not in ("sigmoid", "softplus")])
def test_zero_stays_zero(library, name):
    assert apply(getattr(library, f"{name}_all"), [0.0, -0.0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    "name, far",
    [("expm1", [-1, np.finfo(np.float32).max]), ("sigmoid", [0, 1]), ("tanh", [-1, 1]),
     ("erf", [-1, 1]), ("softplus", [0, np.inf])],
)  # fmt: skip
def test_what_is_far_out_goes_to_the_limit(library, name, far):
    assert apply(getattr(library, f"{name}_all"), [-np.inf, np.inf]).tolist() == far


def test_the_logarithm_of_any_float(library):
    x = np.asarray([1e-45, 1e-42, 1e-39, 1.1e-38, 3.0, 3.4e38], np.float32)
    found = apply(library.any_log_all, x)
    assert ulps(found, np.log(x.astype(np.float64))).max() < 2
    np.testing.assert_array_equal(
        apply(library.any_log_all, [0.0, -0.0, -1.0, np.inf, np.nan]),
        [-np.inf, -np.inf, np.nan, np.inf, np.nan],
    )


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1.5, 2.0, -3.0, 10.0, 0.1, -0.9, 2.3, 17.75])
def test_powers_are_as_accurate_as_their_size_allows(library, exponent):
    """A unit for each multiplication; exp sees the rounding of rest * log x as large as it is."""
    halves = int(2 * exponent)
    rest = float(np.float32(exponent - halves / 2))
    reach = min(80 / abs(exponent), 80)
    x = np.exp(np.linspace(-reach, reach, 100_001)).astype(np.float32)
    found = apply(library.power_all, x, halves, ctypes.c_float(rest))
    true = x.astype(np.float64) ** (halves / 2 + rest)
    units = 4 + abs(exponent) + 1.5 * abs(rest) * reach
    assert ulps(found, true).max() < units


def test_two_compilers_give_the_same_bits(library, tmp_path):
    other = build(tmp_path, sys.executable, "-m", "ziglang", "cc", "-Os")
    x = np.random.default_rng(0).integers(0, 1 << 32, 200_000, np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.linspace(-20, 20, 200_001, dtype=np.float32)])
    for name in FUNCTIONS:
        each = f"{name}_all"
        inside = x[x > -1] if name == "log1p" else np.abs(x) + 1e-30 if name == "log" else x
        found, again = (apply(getattr(c, each), inside) for c in (library, other))
        assert found.tobytes() == again.tobytes(), name
    for halves, rest in ((5, 0.0), (-3, -0.1), (0, 0.3)):
        found, again = (
            apply(c.power_all, np.abs(x), halves, ctypes.c_float(rest)) for c in (library, other)
        )
        assert found.tobytes() == again.tobytes(), (halves, rest)
