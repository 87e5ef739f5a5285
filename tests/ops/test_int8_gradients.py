"""Gradients of int8 layers that are assembly on an emulated Cortex-M4F: the bits of plain C.

Weight gradients of pointwise and dense layers for every optimiser and master, and input gradients
of depthwise layers. The host's plain C is compared with PyTorch in test_qlinear_conv.py and with
numpy in test_int8_learners.py.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_tool
from tests.kernel_headers import kernel_headers
from tests.ops.on_cortex_m4 import CortexM4
from tinyodl.codegen.environment import environment
from tinyodl.codegen.network import learner_context
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets.firmware import C_FLAGS

Arrays = Sequence[np.ndarray | None]
STATES = {"sgd": (), "momentum": ("velocity",), "adam": ("m", "v")}
FRACTIONS = {"none": None, "int16": np.int8, "float32": np.float32}


@dataclass(frozen=True)
class Learner:
    """How weights learn: in the plan, and which code there is for gradients of a batch."""

    optimizer: str = "sgd"
    master: str = "int16"
    sums: bool = False
    fused: bool = True

    @property
    def fields(self) -> tuple[str, ...]:
        fraction = ("fraction",) if FRACTIONS[self.master] else ()
        sums = ("sum",) if self.sums else ()
        return ("value", *fraction, *STATES[self.optimizer], *sums)

    def source(self, folder: Path) -> Path:
        """`run(numbers, rate, gy, x, factor, out_order, in_order, fields ...)` in a C file."""
        plan = UpdatePlan(optimizer=self.optimizer, master=self.master)
        context = {"plan": plan, "sums": self.sums, "fused": self.fused, **learner_context(plan)}
        for name in ("optimizer.h", "learner_i8.h"):
            text = environment().get_template(f"kernels/{name}.j2").render(context)
            (folder / name).write_text(text)
        fields = ", ".join(f".{name} = a[{7 + i}]" for i, name in enumerate(self.fields))
        adam = "adam_rate = learning_rate; adam_root = 0.5f;" if self.optimizer == "adam" else ""
        path = folder / "run.c"
        path.write_text(
            '#include "qlinear_conv_gradient_i8.h"\n'
            "void run(void *const *a)\n{\n    const int32_t *n = a[0];\n"
            f"    const learner_i8 to = {{{fields}}};\n    qlinear_conv_shape s;\n"
            f"    learning_rate = *(const float *)a[1]; {adam}\n"
            "    memcpy(&s, n, sizeof s);\n"
            "    qlinear_conv_weight_gradient_i8(&s, n[17], n[18], n[19], n[20], n[21],\n"
            "                                    a[2], a[3], a[4], a[5], a[6], &to);\n}\n"
        )
        return path


def on_host(source: Path) -> Callable[[Arrays], None]:
    library = source.with_suffix(".so")
    include = [f"-I{source.parent}", f"-I{kernel_headers()}"]
    command = ["gcc", *C_FLAGS, *include, "-fPIC", "-shared", "-o", library, source]
    subprocess.run(command, check=True)
    run = ctypes.CDLL(str(library)).run

    def call(arrays: Arrays) -> None:
        places = [None if a is None else a.ctypes.data for a in arrays]
        run((ctypes.c_void_p * len(places))(*places))

    return call


@dataclass(frozen=True)
class Geometry:
    """`filters` filters of w with `columns` columns; a layer that is split has more."""

    positions: int
    filters: int
    columns: int
    split: str | None = None  # "outputs", "inputs", "saved": of x there are only those channels
    count: int = 0  # filters in a part, whose maps of gy are `alone`; 0: all are one part
    extreme: bool = False


def arrays_of(at: Geometry, learner: Learner, seed: int) -> Iterator[Arrays]:
    """What each part is run on."""
    random = np.random.default_rng(seed)
    outputs = at.filters + (int(random.integers(0, 4)) if at.split == "outputs" else 0)
    inputs = at.columns + (int(random.integers(0, 4)) if at.split in ("inputs", "saved") else 0)
    zero_point = int(random.choice([-128, 127, random.integers(-128, 128)]))
    height = next(h for h in (5, 3, 2, 1) if at.positions % h == 0)
    shape = [inputs, height, at.positions // height, outputs, height, at.positions // height]
    shape += [1, 1, 1, 1, 0, 0, 1, 1, 1, at.filters, at.columns]
    orders = [
        random.permutation(n).astype(np.uint16) if at.split == split else None
        for n, split in ((outputs, "outputs"), (inputs, "inputs"))
    ]
    saved = at.split == "saved"
    read = at.columns if saved else inputs
    gy = random.normal(size=(outputs, at.positions)) * 10.0 ** random.integers(-2, 2, (outputs, 1))
    if at.extreme:
        gy[random.random(gy.shape) < 0.1] = 0.0
        gy[random.random(gy.shape) < 0.02] = np.inf
        gy[random.random(gy.shape) < 0.05] = -1e30
    factor = (random.normal(size=outputs) / 8).astype(np.float32)
    x = random.integers(-128, 128, (read, at.positions)).astype(np.int8)
    size = (at.filters, at.columns)
    values = random.integers(-128, 128, size).astype(np.int8)
    values[random.random(size) < 0.1] = 127
    kept = {"value": values}
    for name in learner.fields[1:]:
        kept[name] = np.abs(random.normal(size=size)).astype(np.float32)
    if learner.master == "int16":
        kept["fraction"] = random.integers(-128, 128, size).astype(np.int8)
    elif learner.master == "float32":
        kept["fraction"] = random.uniform(-0.5, 0.5, size).astype(np.float32)
    if "fraction" in kept:
        kept["fraction"][np.abs(values.astype(int)) >= 127] = 0
    count = at.count or at.filters
    for part in range(-(-at.filters // count)):
        numbers = [*shape, part, count, int(at.count > 0), zero_point, int(saved)]
        maps = gy.astype(np.float32)
        if at.count:
            order = orders[0] if orders[0] is not None else np.arange(outputs)
            maps = maps[order[part * count : (part + 1) * count]]
        rate = np.float32([random.choice([1e-3, 0.02, 0.3])])
        yield [np.array(numbers, np.int32), rate, maps, x, factor, *orders, *kept.values()]


def drawn(seed: int, positions: int) -> Geometry:
    random = np.random.default_rng([seed, positions])
    return Geometry(
        positions,
        int(random.choice([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 21, 33])),
        int(random.choice([1, 2, 3, 4, 5, 6, 7, 8, 11, 13])),
        (None, "outputs", "inputs", "saved")[int(random.integers(4))],
        int(random.choice([0, 0, 3, 4, 5, 8, 19])),
        bool(random.integers(2)),
    )


def assert_same_bits(learner: Learner, folder: Path, all_of: Sequence[Geometry]) -> None:
    source = learner.source(folder)
    host, board = on_host(source), CortexM4(source, folder)
    moved = 0
    for number, at in enumerate(all_of):
        for given in arrays_of(at, learner, number):
            ours, theirs = ([a if a is None else a.copy() for a in given] for _ in range(2))
            host(ours)
            board(theirs)
            for before, a, b in zip(given, ours, theirs, strict=True):
                if a is not None:
                    numbers = a.view(np.uint32) if a.dtype == np.float32 else a
                    np.testing.assert_array_equal(b.view(numbers.dtype), numbers, err_msg=str(at))
                    moved += int((a != before).sum())
    assert moved > 200


PACKED = Learner()
OTHERS = [
    Learner(master="float32"),
    Learner(master="none"),
    Learner(sums=True, fused=False),
    Learner(sums=True, master="none"),
    Learner("momentum"),
    Learner("momentum", "float32", sums=True, fused=False),
    Learner("adam", "none"),
    Learner("adam", "float32"),
]
LARGE = (71, 95, 96, 97, 143, 145)  # maps that are taken a part at a time


@pytest.fixture(params=["gcc", "zig"])
def compiler(request, monkeypatch):
    if request.param == "gcc":
        require_tool("arm-none-eabi-gcc")
    else:
        pytest.importorskip("ziglang")
    monkeypatch.setenv("TINYODL_COMPILER", request.param)


@pytest.mark.usefixtures("compiler")
def test_pointwise_of_an_int16_master_with_sgd(tmp_path):
    """Maps of 1 to 65 positions and larger ones, columns and filters that fill no block."""
    positions = (*range(1, 66), *LARGE)
    assert_same_bits(PACKED, tmp_path, [drawn(seed, n) for seed in range(4) for n in positions])


@pytest.mark.parametrize("learner", OTHERS, ids=lambda of: "-".join((of.optimizer, *of.fields)))
def test_pointwise_of_other_learners(tmp_path, learner):
    require_tool("arm-none-eabi-gcc")
    positions = (*range(1, 10), 12, 15, 16, 33, 48, 49, 63, 64, 65, *LARGE)
    geometries = [drawn(5, n) for n in positions]
    finite = [replace(at, extreme=False) for at in geometries]  # NaNs differ in their bits
    assert_same_bits(learner, tmp_path, finite)


@pytest.mark.usefixtures("compiler")
def test_dense_of_an_int16_master_with_sgd(tmp_path):
    """Rows of 1 to 40 weights and longer than what is made ready at once."""
    splits = (None, "outputs", "inputs", "saved")
    assert_same_bits(
        PACKED,
        tmp_path,
        [
            Geometry(1, 1 + n % 6, n, splits[(n + seed) % 4], (0, 2)[n // 4 % 2], seed % 2 > 0)
            for seed in range(4)
            for n in (*range(1, 41), 255, 256, 257, 259, 300, 517)
        ],
    )


PLANES = [(1, 7), (3, 5), (4, 4), (5, 5), (3, 13), (9, 16)]  # with rests of 16 and of 8


@pytest.mark.usefixtures("compiler")
def test_depthwise_input_through_a_plane(tmp_path):
    """In place and apart, maps that fill no block of the copy, and rows of several tiles."""
    shapes = [[3, h, w, 3, h, w, 3, 3, 1, 1, 1, 1, 1, 1, 3, 3, 1] for h, w in PLANES]
    cases = [
        f"    case {i}: qlinear_conv_input_gradient_i8(&(const qlinear_conv_shape)"
        f"{{{', '.join(map(str, shape))}}}, a[1], a[2], a[3], NULL, NULL, NULL, NULL, gx, a[5]);\n"
        "        break;\n"
        for i, shape in enumerate(shapes)
    ]
    source = tmp_path / "run.c"
    source.write_text(
        '#include "qlinear_conv_input_gradient_i8.h"\n'
        "void run(void *const *a)\n{\n    float *gx = a[4] ? a[4] : a[1];\n"
        f"    switch (*(const int32_t *)a[0]) {{\n{''.join(cases)}    }}\n}}\n"
    )
    host, board = on_host(source), CortexM4(source)
    random = np.random.default_rng(2)
    for number, size in [*enumerate(PLANES)] * 2:
        gy = random.normal(size=(3, *size)).astype(np.float32)
        w = random.integers(-128, 128, (3, 3, 3)).astype(np.int8)
        scale = random.uniform(0.01, 0.1, 3).astype(np.float32)
        gx = None if random.integers(2) else np.full_like(gy, 7)
        given = [np.array([number], np.int32), gy, w, scale, gx, np.zeros(size, np.float32)]
        ours, theirs = ([a if a is None else a.copy() for a in given] for _ in range(2))
        host(ours)
        board(theirs)
        padded = np.pad(gy.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        flipped = w[:, ::-1, ::-1] * scale.astype(np.float64).reshape(-1, 1, 1)
        expected = np.einsum("cyxhw,chw->cyx", windows, flipped)
        np.testing.assert_allclose(ours[1 if gx is None else 4], expected, rtol=1e-5, atol=1e-5)
        for a, b in zip(ours, theirs, strict=True):
            assert a is None or a.tobytes() == b.tobytes(), size
