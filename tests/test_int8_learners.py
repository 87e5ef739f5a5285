"""How int8 weights and int16 changes of biases learn: the kernels against numpy, in float32."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from tests.conftest import require_tool
from tests.virtual.conftest import FIRMWARE, FLAGS, symbol
from tinyodl.codegen.environment import environment
from tinyodl.codegen.literals import float_literal
from tinyodl.codegen.network import learner_context
from tinyodl.project.plan import UpdatePlan
from tinyodl.resources import TEMPLATES
from tinyodl.targets.boards import load_board
from tinyodl.targets.firmware import C_FLAGS
from tinyodl.virtual.unicorn_board import UnicornBoard

RATE = np.float32(0.02)
WEIGHTS = np.arange(-127, 128, 2, dtype=np.int8)
ZERO_POINT = -128  # of a dense layer's input, so that differences take 9 bits


class Kernel:
    """`learner_i8.h` as a plan renders it, behind one function for weights and one for biases."""

    def __init__(self, plan: UpdatePlan, folder) -> None:
        self.fraction = {"none": None, "int16": np.int8, "float32": np.float32}[plan.master]
        context = {"plan": plan, "sums": False, "fused": True, **learner_context(plan)}
        jinja = environment()
        for name in ("optimizer.h", "learner_i8.h"):
            text = jinja.get_template(f"kernels/{name}.j2").render(context)
            (folder / name).write_text(text)
        fraction = ", fraction" if self.fraction else ""
        (folder / "run.c").write_text(
            '#include "learner_i8.h"\n'
            "void weights(int32_t n, float rate, const float *g, int8_t *w, void *fraction)\n"
            "{ learning_rate = rate; (void)fraction;\n"
            f"  const learner_i8 to = {{w{fraction}}};\n"
            "  for (int32_t i = 0; i < n; i++) learner_take_i8(&to, i, g[i]); }\n"
            "void biases(int32_t n, float rate, const float *g, int16_t *b)\n"
            "{ learning_rate = rate; const learner_i16 to = {b};\n"
            "  for (int32_t i = 0; i < n; i++) learner_take_i16(&to, i, g[i]); }\n"
            "void row(int32_t n, float rate, const float *x, int8_t *w, void *fraction)\n"
            "{ learning_rate = rate; (void)fraction;\n"
            f"  const learner_i8 to = {{w{fraction}}};\n"
            "  learner_take_row_i8(&to, 0, n, 0.75f, x); }\n"
            "void inputs(int32_t n, float factor, const int8_t *x, int8_t *w, void *fraction)\n"
            "{ learning_rate = 1.0f; (void)fraction; learner_input_i8 ready[256];\n"
            f"  const learner_i8 to = {{w{fraction}}};\n"
            "  for (int32_t i = 0; i < n; i++)\n"
            f"    ready[i] = learner_input_of(x[i], learner_input_zero({ZERO_POINT}));\n"
            "  learner_take_inputs_i8(&to, 0, n, factor, ready); }\n"
        )
        include = ("-I", folder, "-I", TEMPLATES / "kernels")
        library = folder / "run.so"
        source = folder / "run.c"
        command = ["gcc", *C_FLAGS, *include, "-fPIC", "-shared", "-o", library, source]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(library))

    def weights(self, w: np.ndarray, fraction: np.ndarray | None, g: np.ndarray) -> None:
        self.library.weights(len(w), ctypes.c_float(RATE), *map(pointer, (g, w, fraction)))

    def biases(self, b: np.ndarray, g: np.ndarray) -> None:
        self.library.biases(len(b), ctypes.c_float(RATE), *map(pointer, (g, b)))

    def row(self, w: np.ndarray, fraction: np.ndarray | None, x: np.ndarray) -> None:
        self.library.row(len(w), ctypes.c_float(RATE), *map(pointer, (x, w, fraction)))

    def inputs(
        self, w: np.ndarray, fraction: np.ndarray | None, x: np.ndarray, factor: np.float32
    ) -> None:
        self.library.inputs(len(w), ctypes.c_float(factor), *map(pointer, (x, w, fraction)))


def pointer(array: np.ndarray | None) -> ctypes.c_void_p | None:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


def gradients(spread: float, steps: int = 60) -> np.ndarray:
    drawn = np.random.default_rng(1).normal(size=(steps, len(WEIGHTS))) * spread
    return drawn.astype(np.float32)


def test_without_a_master_the_weight_is_rounded_after_each_step(tmp_path):
    kernel = Kernel(UpdatePlan(master="none"), tmp_path)
    w, expected = WEIGHTS.copy(), WEIGHTS.copy()
    for g in gradients(60.0):
        kernel.weights(w, None, g)
        stepped = np.rint(expected.astype(np.float32) - RATE * g)
        expected = np.clip(stepped, -127, 127).astype(np.int8)
    np.testing.assert_array_equal(w, expected)
    assert (w != WEIGHTS).any()


def test_steps_below_half_an_integer_are_lost_without_a_master(tmp_path):
    w = WEIGHTS.copy()
    kernel = Kernel(UpdatePlan(master="none"), tmp_path)
    for _ in range(1000):
        kernel.weights(w, None, np.full(len(w), 20.0, np.float32))  # 0.4 of an integer
    np.testing.assert_array_equal(w, WEIGHTS)


def test_an_int16_master_is_8_8_fixed_point(tmp_path):
    kernel = Kernel(UpdatePlan(master="int16"), tmp_path)
    w, fraction = WEIGHTS.copy(), np.zeros(len(WEIGHTS), np.int8)
    fixed = WEIGHTS.astype(np.int64) * 256
    for g in gradients(10.0):
        kernel.weights(w, fraction, g)
        fixed = np.clip(fixed - np.rint(RATE * g * np.float32(256)), -127 * 256, 127 * 256)
        np.testing.assert_array_equal(w.astype(np.int64) * 256 + fraction, fixed)
        np.testing.assert_array_equal(w, np.floor(fixed / 256 + 0.5))
    assert np.abs(fixed - WEIGHTS.astype(np.int64) * 256).max() > 256


def test_a_float32_master_keeps_what_the_integer_cannot(tmp_path):
    kernel = Kernel(UpdatePlan(master="float32"), tmp_path)
    w, fraction = WEIGHTS.copy(), np.zeros(len(WEIGHTS), np.float32)
    real = WEIGHTS.astype(np.float64)
    for g in gradients(10.0):
        kernel.weights(w, fraction, g)
        real = np.clip(real - np.float64(RATE) * g, -127, 127)
        np.testing.assert_allclose(w + fraction.astype(np.float64), real, atol=1e-4)
        assert np.abs(fraction).max() <= 0.5
    assert (w != WEIGHTS).any()


@pytest.mark.parametrize("master", ["none", "int16", "float32"])
def test_weights_saturate_and_do_not_wrap(tmp_path, master):
    kernel = Kernel(UpdatePlan(master=master), tmp_path)
    for sign, limit in ((1.0, -127), (-1.0, 127)):
        w = WEIGHTS.copy()
        fraction = None if master == "none" else np.zeros(len(w), kernel.fraction)
        for size in (1e4, 1e30, np.inf):
            kernel.weights(w, fraction, np.full(len(w), sign * size, np.float32))
        np.testing.assert_array_equal(w, limit)
        assert fraction is None or not fraction.any()


@pytest.mark.parametrize("master", ["none", "int16", "float32"])
def test_a_row_learns_what_its_elements_would(tmp_path, master):
    kernel = Kernel(UpdatePlan(master=master), tmp_path)
    rows = [WEIGHTS.copy(), WEIGHTS.copy()]
    fractions = [
        None if master == "none" else np.zeros(len(WEIGHTS), kernel.fraction) for _ in rows
    ]
    for x in gradients(30.0):
        kernel.row(rows[0], fractions[0], x)
        kernel.weights(rows[1], fractions[1], np.float32(0.75) * x)
    real = [
        w + (0 if f is None else f / (256 if master == "int16" else 1.0))
        for w, f in zip(rows, fractions, strict=True)
    ]
    assert np.abs(real[0] - real[1]).max() <= (1 if master == "none" else 0.05)
    assert np.abs(real[0] - WEIGHTS).max() > 1


@pytest.mark.parametrize("master", ["none", "int16", "float32"])
def test_a_dense_row_learns_the_products_of_its_inputs(tmp_path, master):
    """Within 1/256 of a step of the fraction, where products in fixed point are rounded."""
    kernel = Kernel(UpdatePlan(master=master), tmp_path)
    random = np.random.default_rng(5)
    unit = {"none": 1.0, "int16": 1 / 256, "float32": 2e-5}[master]
    for factor in np.float32([0.0, 1e-6, 0.003, -0.003, 0.02, -0.4, 0.49, -0.6, 2.0]):
        start = random.integers(-127, 128, 101).astype(np.int8)
        w = start.copy()
        fraction = None if master == "none" else np.zeros(len(w), kernel.fraction)
        x = random.integers(-128, 128, len(w)).astype(np.int8)
        kernel.inputs(w, fraction, x, factor)
        change = np.float64(factor) * (x.astype(np.float64) - ZERO_POINT)
        if master == "int16" and abs(factor) > 127 / 256:  # steps in 16 bits
            change = np.clip(change, -128, 127 + 255 / 256)
        real = np.clip(start - change, -127, 127)
        kept = 0.0 if fraction is None else fraction / (256.0 if master == "int16" else 1.0)
        np.testing.assert_allclose(w + kept, real, rtol=0, atol=unit * (0.5 + 1 / 256))


ROW = (13, 0.75)  # elements, factor
IMAGE = """
#include "registers.h"
#include "learner_i8.h"

static int8_t value[] = {%s}, fraction[] = {%s};
static const uint32_t x[] = {%s};
int8_t learned[2][sizeof value];

int main(void)
{
    enum { N = %d };
    const learner_i8 to = {value, fraction};

    learning_rate = %s;
%s
    for (uint32_t i = 0; i < sizeof value; i++) {
        learned[0][i] = value[i];
        learned[1][i] = fraction[i];
    }
    return 0;
}
"""
SUMS = """
    for (int32_t i = 0; i < (int32_t)sizeof value; i += N) {
        learner_take_row_i8(&to, i, N, 0.75f, (const float *)x + i);
    }
"""
INPUTS = """
    int32_t n = 0;
    for (int32_t i = 0, at = 0; i < (int32_t)(sizeof value / N); i++, at += N) {
        learner_input_i8 ready[N];
        for (int32_t k = 0; k < N; k++) {
            ready[k] = learner_input_of(((const int8_t *)x)[at + k], learner_input_zero(%d));
        }
        float factor;
        memcpy(&factor, (const int8_t *)x + sizeof value + 4 * i, sizeof factor);
        n = n %% N + 1;
        learner_take_inputs_i8(&to, at, n, factor, ready);
    }
"""


def rows_on_a_board(
    folder, value: np.ndarray, fraction: np.ndarray, x: np.ndarray, rate: np.float32, learn: str
) -> np.ndarray:
    """What rows of weights learn from the words x on a virtual board, with headers in `folder`."""
    numbers = [",".join(map(str, a.ravel().tolist())) for a in (value, fraction, x)]
    source, elf = folder / "rows.c", folder / "rows.elf"
    source.write_text(IMAGE % (*numbers, value.shape[1], float_literal(rate), learn))
    flags = [flag for flag in FLAGS if flag != "-ffreestanding"] + ["-fno-strict-aliasing"]
    command = [require_tool("arm-none-eabi-gcc"), *flags, "-DNRF52840=1"]
    command += ["-I", FIRMWARE, "-I", folder, "-I", TEMPLATES / "kernels"]
    command += ["-I", TEMPLATES / "ports" / "cortex_m4"]  # string.h, where no C library is
    command += ["-Wl,--defsym=ORIGIN_OF_FLASH=0", "-T", FIRMWARE / "start.ld", "-o", elf]
    subprocess.run([*command, "-Wno-unused-function", FIRMWARE / "start.c", source], check=True)
    with UnicornBoard(load_board("nrf52840_dk"), elf) as board:
        found = board.peek(symbol(elf, "learned"), 2 * value.size)
    return np.frombuffer(found, np.int8).reshape(2, *value.shape)


EXTREME = (0.0, -0.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 65536.5, -65536.5, 32511.5, -33024.5)


def test_four_at_a_time_on_a_board_are_as_one_by_one(tmp_path):
    """What a core with SIMD instructions does for an int16 master, with the same bits."""
    kernel = Kernel(UpdatePlan(master="int16"), tmp_path)
    random = np.random.default_rng(3)
    rows = 40
    x = (random.normal(size=(rows, ROW[0])) * 10.0 ** random.integers(-2, 6, (rows, 1))).astype(
        np.float32
    )
    scaled = RATE * np.float32(ROW[1]) * np.float32(256)
    x[::4, :11] = random.permutation(np.array(EXTREME, np.float32)) / scaled
    start = random.integers(-127, 128, (rows, ROW[0])).astype(np.int8)
    left = random.integers(-128, 128, start.shape).astype(np.int8)
    start[1::5, 2:8] = -128  # as a file may begin
    left[np.abs(start.astype(int)) >= 127] = 0
    w, fraction = start.copy(), left.copy()
    for i in range(rows):
        kernel.row(w[i], fraction[i], x[i])
    found = rows_on_a_board(tmp_path, start, left, x.view(np.uint32), RATE, SUMS)
    np.testing.assert_array_equal(found, np.stack([w, fraction]))
    assert (w != start).any() and (np.abs(w) == 127).sum() > 20


def test_dense_rows_on_a_board_are_as_one_by_one(tmp_path):
    """Rows of 1 to 20 weights, at factors up to where products leave fixed point and beyond."""
    kernel = Kernel(UpdatePlan(master="int16"), tmp_path)
    random = np.random.default_rng(4)
    rows, length = 80, 20
    x = random.integers(-128, 128, (rows, length)).astype(np.int8)
    x[::3, :6] = (-128, 127, -128, 127, -127, 126)
    factors = (random.normal(size=rows) * 10.0 ** random.integers(-6, 3, rows)).astype(np.float32)
    edge = np.float32(127 / 256)
    edges = [edge, np.nextafter(edge, np.float32(0)), np.nextafter(edge, np.float32(1)), 0.0]
    factors[::5] = [np.nan, np.inf, 1e30, -1e30, *edges, *(-f for f in edges), 3e-8, -3e-8, 1, -1]
    start = random.integers(-127, 128, x.shape).astype(np.int8)
    left = random.integers(-128, 128, x.shape).astype(np.int8)
    start[::7, ::2], start[::7, 1::2] = 127, -127
    start[1::5, 3:9] = -128  # as a file may begin
    left[np.abs(start.astype(int)) >= 127] = 0
    w, fraction = start.copy(), left.copy()
    for i in range(rows):
        n = i % length + 1
        kernel.inputs(w[i, :n], fraction[i, :n], x[i, :n], factors[i])
    words = np.frombuffer(x.tobytes() + factors.tobytes(), np.uint32)
    found = rows_on_a_board(tmp_path, start, left, words, np.float32(1), INPUTS % ZERO_POINT)
    np.testing.assert_array_equal(found, np.stack([w, fraction]))
    assert (w != start).any() and (np.abs(w) == 127).sum() > 20


def test_the_change_of_a_bias_is_8_8_fixed_point_and_saturates(tmp_path):
    kernel = Kernel(UpdatePlan(), tmp_path)
    b, expected = np.zeros(len(WEIGHTS), np.int16), np.zeros(len(WEIGHTS), np.float32)
    for g in gradients(30.0):
        kernel.biases(b, g)
        expected = np.clip(np.rint(expected - RATE * g * np.float32(256)), -32768, 32767)
        np.testing.assert_array_equal(b, expected)
    kernel.biases(b, np.full(len(b), 1e9, np.float32))
    np.testing.assert_array_equal(b, -32768)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_other_optimisers_render(optimizer):
    plan = UpdatePlan(optimizer=optimizer, batch=4)
    context = {"plan": plan, "sums": True, "fused": False, **learner_context(plan)}
    text = environment().get_template("kernels/learner_i8.h.j2").render(context)
    assert "learner_apply_i8" in text and "learner_apply_i16" in text
