"""QLinearConv: int8 convolutions and dense layers, forward and backward.

Outputs are compared with exact integer arithmetic and with onnxruntime, gradients with PyTorch's
fake_quantize in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as functional
from onnx import TensorProto, helper, numpy_helper

from tests.hostnet import HostNet
from tests.ops.graphs import around
from tests.ops.int8 import between
from tests.ops.kernels import compiled, run_by_rows
from tests.ops.on_cortex_m4 import run_on_cortex_m4
from tests.projects import require_arm_compiler
from tests.test_sanitizers import MAIN, check_with_clang, run_sanitized
from tinyodl.codegen.network import render_network
from tinyodl.graph import Graph, Node, Quantization, Storage, Tensor
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.ops import calls_of, in_place_of, output_shapes
from tinyodl.ops.shared.int8_columns import is_dense
from tinyodl.ops.shared.quantization import bounds, multipliers
from tinyodl.project.plan import UpdatePlan


@dataclass
class Layer:
    """A drawn layer: its node and graph, the values of its inputs, and the filters in order."""

    node: Node
    graph: Graph
    values: dict[str, np.ndarray]
    filters: np.ndarray  # (M, C/group, KH, KW) int8, in the order of the channels

    @property
    def scales(self) -> tuple[float, np.ndarray, float]:
        """Those of x, of each filter, and of y."""
        x, w, y = (self.graph.tensor(name).quantization for name in ("x", "w", "y"))
        return x.scale[0], w.scales(len(self.filters)), y.scale[0]

    def zero_point(self, name: str) -> int:
        return self.graph.tensor(name).quantization.zero_point


@dataclass(frozen=True)
class Geometry:
    """Of a convolution with `group` groups of (filters, channels)."""

    group: int = 1
    per_group: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (5, 6)
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def reach(self) -> tuple[int, int]:
        """What one window spans."""
        height, width = zip(self.kernel, self.dilations, strict=True)
        return (height[0] - 1) * height[1] + 1, (width[0] - 1) * width[1] + 1

    def fit_for(self, split: str | None) -> Geometry:
        """The same in one group where the input channels are split."""
        per_group = (self.group * self.per_group[0], self.group * self.per_group[1])
        return replace(self, group=1, per_group=per_group) if split == "inputs" else self

    def __post_init__(self) -> None:
        """Make the map large enough for one window."""
        padding = self.pads[0] + self.pads[2], self.pads[1] + self.pads[3]
        size = tuple(max(self.size[i], self.reach[i] - padding[i]) for i in (0, 1))
        object.__setattr__(self, "size", size)


def layer(
    seed: int,
    at: Geometry,
    *,
    split: str | None = None,
    bias: bool = True,
    delta: bool = False,
    exact_scales: bool = False,
    limits: tuple[float, float] = (-np.inf, np.inf),
    outputs: tuple[str, ...] = ("y", "", "", "scratch"),
) -> Layer:
    """A layer of that geometry with drawn values; its outputs fill most of int8's range."""
    rng = np.random.default_rng(seed)
    (m, c), taps = at.per_group, at.kernel
    channels, filters = at.group * c, rng.integers(-127, 128, (at.group * m, c, *taps))
    filters = filters.astype(np.int8)
    s_x, s_w = rng.uniform(0.01, 0.1), rng.uniform(0.001, 0.02, len(filters))
    s_y = s_x * s_w.mean() * 74 * np.sqrt(c * taps[0] * taps[1])
    if exact_scales or seed % 3 == 0:  # powers of two: then v is exact, and often a tie
        s_x, s_w = 2.0 ** (seed % 4 - 5), 2.0 ** rng.integers(-9, -6, len(filters))
        s_y = 2 ** np.round(np.log2(s_x * s_w.mean() * 74 * np.sqrt(c * taps[0] * taps[1])))
    quantizations = {
        "x": Quantization((float(np.float32(s_x)),), int(rng.integers(-128, 128))),
        "w": Quantization(tuple(float(s) for s in s_w.astype(np.float32))),
        "y": Quantization((float(np.float32(s_y)),), int(rng.integers(-128, 128))),
    }
    values = {
        "x": rng.integers(-128, 128, (1, channels, *at.size)).astype(np.int8),
        "multiplier": multipliers(*quantizations.values(), len(filters)),
    }
    if bias:
        values["b"] = rng.integers(-9999, 9999, len(filters)).astype(np.int32)
    if delta:
        values["delta"] = rng.integers(-9999, 9999, len(filters)).astype(np.int16)
    axis = 1 if split == "inputs" else 0
    values |= {"w": filters} if split is None else _split(filters, axis, rng)
    attrs = {
        "strides": at.strides,
        "pads": at.pads,
        "dilations": at.dilations,
        "group": at.group,
        "split": split,
        **vars(bounds(quantizations["y"], *limits)),
    }
    slots = ("x", "w", "b", "multiplier", "delta", "rest", "order")
    inputs = tuple(name if name in values else "" for name in slots)
    node = Node("QLinearConv", "conv", inputs, outputs, attrs)
    quantizations["saved"] = quantizations["x"]
    tensors = {
        name: _tensor(name, value, quantizations.get(name)) for name, value in values.items()
    }
    shapes = output_shapes(node, Graph((), tensors, (), ()))
    for name, shape in zip(outputs, shapes, strict=True):
        dtype = {"mask": "uint8", "scratch": "int16"}.get(name, "int8")
        if name:
            tensors[name] = Tensor(name, shape, dtype=dtype, quantization=quantizations.get(name))
    return Layer(node, Graph((node,), tensors, ("x",), ("y",)), values, filters)


def _split(filters: np.ndarray, axis: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """w, rest and order for a drawn choice of filters or columns; rest may be empty."""
    count = filters.shape[axis]
    order = rng.permutation(count).astype(np.uint16)
    learning = int(rng.integers(1, count + 1))
    parts = {"w": order[:learning], "rest": order[learning:]}
    made = {name: np.take(filters, part, axis) for name, part in parts.items() if part.size}
    return {name: np.ascontiguousarray(part) for name, part in made.items()} | {"order": order}


def _tensor(name: str, value: np.ndarray, quantization: Quantization | None) -> Tensor:
    storage, data = (Storage.ARENA, None) if name == "x" else (Storage.FLASH, value)
    return Tensor(name, value.shape, storage, str(value.dtype), data, quantization=quantization)


def unwritten(of: Layer) -> dict[str, np.ndarray]:
    """Arrays for the node's outputs, full of 0x5a."""
    outputs = [of.graph.tensor(name) for name in of.node.outputs if name]
    return {t.name: np.full(t.shape, 0x5A, t.dtype) for t in outputs}


def run(of: Layer, folder, **memory: np.ndarray) -> dict[str, np.ndarray]:
    """The node's outputs; `memory` gives arrays for some, what is not written is 0x5a."""
    made = unwritten(of) | memory
    for call in calls_of(of.node, of.graph):
        compiled(call, of.node, of.graph, folder)({**of.values, **made}, 0, 0)
    return made


def windows(x: np.ndarray, node: Node, kernel: tuple[int, ...]) -> np.ndarray:
    """(C, OH, OW, KH, KW) of x (1, C, H, W), padded with 0."""
    top, left, bottom, right = node.attrs["pads"]
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, node.attrs["dilations"], strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
    (sh, sw), (dh, dw) = node.attrs["strides"], node.attrs["dilations"]
    return view[:, ::sh, ::sw, ::dh, ::dw]


def exact_v(of: Layer) -> np.ndarray:
    """v of every output: the sum in 64 bits, then two roundings to float32."""
    group, filters = of.node.attrs["group"], of.filters
    over = windows(of.values["x"].astype(np.int64) - of.zero_point("x"), of.node, filters.shape[2:])
    grouped = filters.astype(np.int64).reshape(group, -1, *filters.shape[1:])
    over = over.reshape(group, -1, *over.shape[1:])
    sums = np.einsum("gcyxhw,gmchw->gmyx", over, grouped).reshape(1, len(filters), *over.shape[2:4])
    column = (1, -1, 1, 1)
    sums += of.values.get("b", np.zeros(len(filters), np.int32)).reshape(column)
    v = sums.astype(np.float32) * of.values["multiplier"].reshape(column)
    delta = of.values.get("delta", np.zeros(len(filters), np.int16))
    return v + delta.reshape(column).astype(np.float32) / np.float32(256)


def exact(of: Layer) -> np.ndarray:
    """y, rounded half to even."""
    rounded = np.rint(exact_v(of)) + of.zero_point("y")
    return np.clip(rounded, of.node.attrs["low"], of.node.attrs["high"]).astype(np.int8)


def onnxruntime_output(of: Layer) -> np.ndarray:
    """What DequantizeLinear, Conv and QuantizeLinear make of it, each by itself."""
    nodes, initializers = [], []

    def constant(name: str, value: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(value, name))
        return name

    def linear(op: str, name: str, scale: np.ndarray, zero: np.ndarray, output: str) -> str:
        inputs = [name, constant(f"{output}.s", scale), constant(f"{output}.z", zero)]
        nodes.append(helper.make_node(op, inputs, [output], axis=0))
        return output

    s_x, s_w, s_y = (np.asarray(scale, np.float32) for scale in of.scales)
    zero = {name: np.asarray(of.zero_point(name), np.int8) for name in ("x", "y")}
    none = np.zeros(len(of.filters), np.int8)
    operands = [
        linear("DequantizeLinear", "x", s_x, zero["x"], "xf"),
        linear("DequantizeLinear", constant("w", of.filters), s_w, none, "wf"),
    ]
    if "b" in of.values:
        b, zeros = constant("b", of.values["b"]), none.astype(np.int32)
        operands.append(linear("DequantizeLinear", b, s_x * s_w, zeros, "bf"))
    names = ("strides", "pads", "dilations", "group")
    attrs = {name: of.node.attrs[name] for name in names}
    nodes.append(helper.make_node("Conv", operands, ["yf"], **attrs))
    linear("QuantizeLinear", "yf", s_y, zero["y"], "y")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "conv",
        [value("x", TensorProto.INT8, of.values["x"].shape)],
        [value("y", TensorProto.INT8, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": of.values["x"]})[0]


KINDS = ("any", "depthwise", "depthwise of one size", "pointwise")
SPLITS = (None, "outputs", "inputs")
LIMITS = ((-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0))  # none, Relu, Relu6, hardtanh
seeds = pytest.mark.parametrize("seed", range(36))  # three of each kind with each split


def geometry(seed: int) -> tuple[Geometry, str | None]:
    """The geometry and the split of a drawn layer."""
    split = SPLITS[seed // 4 % 3]
    return drawn(seed, KINDS[seed % 4]).fit_for(split), split


def drawn(seed: int, kind: str) -> Geometry:
    """A geometry of that kind."""
    rng = np.random.default_rng([seed, 1])

    def pair(low: int, high: int) -> tuple[int, int]:
        first, second = rng.integers(low, high + 1, 2).tolist()
        return first, second

    if kind == "pointwise":
        return Geometry(1, pair(2, 7), pair(1, 9), (1, 1))
    group = int(rng.integers(2, 6))
    kernel, dilations = pair(1, 4), pair(1, 3)
    if kind == "depthwise of one size":
        kernel = (2 * kernel[0] - 1, 2 * kernel[1] - 1)
        top, left = ((k - 1) * d // 2 for k, d in zip(kernel, dilations, strict=True))
        padding = (top, left, top, left)
        return Geometry(group, (1, 1), pair(1, 11), kernel, (1, 1), dilations, padding)
    group, per_group = (group, (1, 1)) if kind == "depthwise" else (group - 1, pair(1, 4))
    padding = (*pair(0, 3), *pair(0, 3))
    return Geometry(group, per_group, pair(1, 11), kernel, pair(1, 3), dilations, padding)


@seeds
def test_forward_is_exact(tmp_path, seed):
    """Equal to integer arithmetic with rounding half to even, whatever lies where."""
    at, split = geometry(seed)
    bias, delta = seed % 5 > 0, seed % 2 > 0
    of = layer(seed, at, split=split, bias=bias, delta=delta, limits=LIMITS[seed % 7 % 4])
    np.testing.assert_array_equal(run(of, tmp_path)["y"], exact(of))


@seeds
def test_cortex_m4_instructions_make_the_same(tmp_path, seed):
    """Odd numbers of weights, filters and outputs, in rows and columns that are not aligned."""
    require_arm_compiler()
    at, split = geometry(seed)
    bias, delta, masked = seed % 5 > 0, seed % 2 > 0, seed % 3 > 0
    limits = LIMITS[seed % 7 % 4]
    outputs = ("y", "mask" if masked else "", "", "scratch")
    of = layer(seed, at, split=split, bias=bias, delta=delta, limits=limits, outputs=outputs)
    (call,) = calls_of(of.node, of.graph)
    arrays = of.values | unwritten(of)
    run_on_cortex_m4(call, of.node, of.graph, arrays, tmp_path)
    np.testing.assert_array_equal(arrays["y"], exact(of))
    if masked:
        np.testing.assert_array_equal(arrays["mask"], run(of, tmp_path)["mask"])


PLAIN = [  # what networks are made of: bias, all of int8, nothing that learns
    Geometry(1, (16, 3), (9, 9), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    Geometry(1, (9, 16), (6, 8), (3, 3), pads=(1, 1, 1, 1)),
    Geometry(1, (8, 1), (12, 7), (10, 4), (2, 2), (1, 1), (4, 1, 5, 1)),
    Geometry(1, (3, 5), (8, 9), (5, 5), pads=(2, 2, 2, 2)),
    *(Geometry(1, (filters, 4 * fours), (3, 3), (1, 1)) for filters, fours in ((2, 1), (5, 6))),
    *(Geometry(1, (4, 4 * fours), (1, 2), (1, 1)) for fours in range(7, 12)),
    Geometry(1, (8, 12), (7, 8), (1, 1), (2, 2)),
    *(
        Geometry(1, (filters, weights), (1, 1), (1, 1))
        for filters in (1, 2, 3, 7)
        for weights in (5, 8, 16, 43, 44)
    ),
    Geometry(1, (5, 8), (3, 4), (3, 4)),
    Geometry(1, (3, 16), (3, 1), (1, 1)),
    *(
        Geometry(4, (1, 1), (9, 11), (k, k), (s, s), pads=(k // 2,) * 4)
        for k in (3, 5, 7)
        for s in (1, 2)
    ),
    Geometry(4, (1, 1), (25, 5), (3, 3), pads=(1, 1, 1, 1)),
]


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_cortex_m4_instructions_for_plain_layers(tmp_path, number):
    require_arm_compiler()
    of = layer(3 * number + 1, PLAIN[number])
    (call,) = calls_of(of.node, of.graph)
    arrays = of.values | unwritten(of)
    run_on_cortex_m4(call, of.node, of.graph, arrays, tmp_path)
    np.testing.assert_array_equal(arrays["y"], exact(of))


def test_forward_is_within_one_step_of_onnxruntime(tmp_path):
    """Layers as networks have them: where v is near a tie, a few outputs in 10,000 differ."""
    layers = [
        Geometry(1, (16, 3), (24, 25), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
        Geometry(1, (24, 40), (9, 7), (1, 1)),
        Geometry(1, (10, 64), (1, 1), (1, 1)),
        Geometry(1, (16, 16), (12, 13), (3, 3), (1, 1), (2, 1), (2, 1, 2, 1)),
        Geometry(24, (1, 1), (13, 14), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
        Geometry(16, (1, 1), (16, 15), (7, 7), (2, 2), (1, 1), (3, 3, 3, 3)),
        Geometry(4, (6, 3), (11, 12), (3, 3), (1, 1), (1, 1), (0, 1, 1, 0)),
    ]
    steps = []
    for number, at in enumerate(layers * 3):
        of = layer(3 * number + 1, at, bias=number % 2 == 0)
        steps.append((run(of, tmp_path)["y"].astype(int) - onnxruntime_output(of)).ravel())
    found = np.concatenate(steps)
    assert np.abs(found).max() <= 1
    assert np.count_nonzero(found) <= found.size // 2000


@seeds
def test_mask_is_where_the_gradient_passes(tmp_path, seed):
    """PyTorch's convention: of the activation, then of fake_quantize."""
    at, split = geometry(seed)
    limits = LIMITS[seed % 7 % 4]
    of = layer(seed, at, split=split, limits=limits, outputs=("y", "mask", "", "scratch"))
    made = run(of, tmp_path)
    v = torch.tensor(exact_v(of), requires_grad=True)
    low, high = (np.float32(limit) / np.float32(of.scales[2]) for limit in limits)
    cut = between(v, (low, high))
    torch.fake_quantize_per_tensor_affine(cut, 1.0, of.zero_point("y"), -128, 127).sum().backward()
    bits = np.unpackbits(made["mask"], bitorder="little")[: v.numel()]
    np.testing.assert_array_equal(bits.reshape(v.shape), v.grad.numpy() != 0)
    np.testing.assert_array_equal(made["y"], exact(of))


@seeds
def test_rows_through_rings_equal_the_whole(tmp_path, seed):
    at, split = geometry(seed)
    high = at.reach[0] - 1  # no row of outputs is made of padding alone
    top, left, bottom, right = at.pads
    at = replace(at, pads=(min(top, high), left, min(bottom, high), right))
    of = layer(seed, at, split=split)
    rng = np.random.default_rng(seed)
    found = run_by_rows(of.node, of.graph, of.values, tmp_path, rng)
    np.testing.assert_array_equal(found, exact(of))


@pytest.mark.parametrize("split", [None, "outputs"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (10, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_windows_that_reach_over_the_end_of_a_ring(tmp_path, seed, kernel, stride, split):
    """Of few channels, as first layers have them."""
    pads = [(0, 0, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0), (2, 1, 0, 2)][seed]
    at = Geometry(1, (5, 1 + seed), (13, 10 + seed), kernel, (stride, stride), pads=pads)
    of = layer(seed, at, split=split)
    found = run_by_rows(of.node, of.graph, of.values, tmp_path, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, exact(of))


@seeds
def test_depthwise_in_place(tmp_path, seed):
    """y may take the memory of x, at least where its maps are as large; x is saved before."""
    kind, split = ("depthwise", "depthwise of one size")[seed % 2], SPLITS[seed // 2 % 2]
    at = drawn(seed, kind)
    outputs = ("y", "mask", "saved" if split else "", "scratch")
    of = layer(seed, at, split=split, outputs=outputs)
    x, y = of.values["x"].copy(), of.graph.tensor("y")
    expected = exact(of)
    if in_place_of(of.node, of.graph) or kind == "depthwise of one size":
        shared = of.values["x"].reshape(-1)[: y.size].reshape(y.shape)
        made = run(of, tmp_path, y=shared)
    else:
        made = run(of, tmp_path)
    np.testing.assert_array_equal(made["y"], expected)
    if split:
        learning = of.values["order"][: len(of.values["w"])]
        np.testing.assert_array_equal(made["saved"], x[:, learning])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", range(12))
def test_pointwise_in_place(tmp_path, seed, split):
    """y may take the memory of x where it has no more channels; x is saved before."""
    rng = np.random.default_rng([seed, 2])
    channels, size = int(rng.integers(2, 20)), (int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    filters = channels if seed % 2 else int(rng.integers(1, channels + 1))
    group = 2 if split != "inputs" and seed % 3 == 0 else 1
    at = Geometry(group, (filters, channels), size, (1, 1))
    outputs = ("y", "mask", "saved" if split == "inputs" else "", "scratch")
    of = layer(seed, at, split=split, delta=seed % 2 > 0, limits=LIMITS[seed % 4], outputs=outputs)
    x, y, expected = of.values["x"].copy(), of.graph.tensor("y"), exact(of)
    apart = run(of, tmp_path)
    assert in_place_of(of.node, of.graph) == (() if size == (1, 1) and group == 1 else (0,))
    made = run(of, tmp_path, y=of.values["x"].reshape(-1)[: y.size].reshape(y.shape))
    np.testing.assert_array_equal(made["y"], expected)
    np.testing.assert_array_equal(made["mask"], apart["mask"])
    if split == "inputs":
        learning = of.values["order"][: of.graph.shape("saved")[1]]
        np.testing.assert_array_equal(made["saved"], x[:, learning])


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 3), (25, 5), (4, 6)])
@pytest.mark.parametrize("filters, channels", [(4, 4), (64, 64), (5, 7), (2, 11), (1, 3)])
def test_pointwise_in_place_on_a_cortex_m4(tmp_path, size, filters, channels):
    require_arm_compiler()
    of = layer(1, Geometry(1, (filters, channels), size, (1, 1)))
    if is_dense(of.node.attrs, of.graph.shape("x"), of.graph.shape("w")):
        assert in_place_of(of.node, of.graph) == ()
        return
    (call,) = calls_of(of.node, of.graph)
    arrays = {name: value.copy() for name, value in (of.values | unwritten(of)).items()}
    run_on_cortex_m4(call, of.node, of.graph, arrays, tmp_path, over={"y": "x"})
    np.testing.assert_array_equal(arrays["y"], exact(of))


@pytest.mark.parametrize(
    "at",
    [
        Geometry(1, (8, 4), (4, 4), (1, 1)),
        Geometry(1, (4, 4), (4, 4), (1, 1), (2, 2)),
        Geometry(1, (4, 4), (4, 4), (1, 1), pads=(1, 0, 0, 0)),
        Geometry(1, (4, 4), (4, 4), (3, 3), pads=(1, 1, 1, 1)),
    ],
)
def test_other_layers_are_not_in_place(at):
    of = layer(0, at)
    assert in_place_of(of.node, of.graph) == ()


def test_shapes_of_absent_outputs():
    of = layer(0, Geometry(group=3), outputs=("y", "", "", "scratch"))
    shapes = output_shapes(of.node, of.graph)
    assert shapes == ((1, 3, 3, 4), (), (), (90,))
    alone = replace(of.node, outputs=("y",))
    assert output_shapes(alone, of.graph) == ((1, 3, 3, 4),)


def learning(
    of: Layer, *, weights: bool = True, scaling: bool = True
) -> tuple[Graph, UpdatePlan, np.ndarray]:
    """The layer between a learned float32 input and a float32 output, and that input's values.

    The input learns, delta where there is one, and w if `weights`. Batch 2: gradients stay sums.
    """
    x = of.graph.tensor("x")
    scale, zero = x.quantization.scale[0], x.quantization.zero_point
    real = ((of.values["x"].astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
    around_x, plan = around("Reshape", {"x.real": real}, {"shape": real.shape})
    quantize = Node("QuantizeLinear", "quantize", ("x.real",), ("x",), vars(bounds(x.quantization)))
    out = Node("DequantizeLinear", "out", ("y",), ("z",))
    tensors = {**around_x.tensors, **of.graph.tensors, "z": Tensor("z", of.graph.shape("y"))}
    for name in ("w", "delta") if weights else ("delta",):
        if name in tensors:
            tensors[name] = replace(tensors[name], storage=Storage.PARAMETER)
    nodes = (*around_x.nodes[:-1], quantize, of.node, out)
    graph = Graph(nodes, tensors, ("one",), ("z",))
    plan = plan.model_copy(update={"scaling": scaling})
    return graph, plan, real


def fake_quantised(of: Layer, limits: tuple[float, float], x, w, b) -> torch.Tensor:
    """The layer on real values in float64, with the straight-through estimator."""
    top, left, bottom, right = of.node.attrs["pads"]
    names = {"strides": "stride", "dilations": "dilation", "group": "groups"}
    options = {option: of.node.attrs[name] for name, option in names.items()}
    made = functional.conv2d(functional.pad(x, (left, right, top, bottom)), w, b, **options)
    made = between(made, limits)
    return torch.fake_quantize_per_tensor_affine(made, of.scales[2], of.zero_point("y"), -128, 127)


@pytest.mark.parametrize("seed", range(60))
def test_gradients(tmp_path, seed):
    """Of the input, of the weights that learn and of the bias, against PyTorch in float64."""
    assert_gradients(tmp_path, seed, *geometry(seed))


SQUARE, WIDE = (1, 1, 1, 1), (3, 3, 3, 3)
LARGE = [
    Geometry(4, (1, 1), (9, 29), (3, 3), (1, 1), (1, 1), SQUARE),  # rows of several tiles
    Geometry(3, (1, 1), (10, 33), (7, 7), (2, 2), (1, 1), WIDE),
    Geometry(2, (1, 1), (5, 17), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),  # which do not fit
    Geometry(2, (3, 2), (7, 26), (3, 5), (1, 2), (2, 1), (2, 2, 2, 2)),
    Geometry(1, (3, 5), (6, 24), (3, 3), (2, 2), (1, 1), SQUARE),
    Geometry(1, (5, 4), (6, 20), (1, 1), (2, 2)),
    Geometry(1, (30, 9), (9, 8), (1, 1)),  # more filters and positions than are taken at once
    Geometry(1, (21, 8), (4, 4), (1, 1)),
    Geometry(1, (4, 7), (25, 5), (1, 1)),
    Geometry(1, (5, 3), (3, 3), (1, 1)),
    Geometry(1, (7, 300), (1, 1), (1, 1)),  # dense
    Geometry(1, (50, 6), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("number", range(len(LARGE)))
def test_gradients_of_larger_layers(tmp_path, number, split):
    if split == "inputs" and LARGE[number].group > 1:
        split = "outputs"
    assert_gradients(tmp_path, 2 * number + 13, LARGE[number], split)


def assert_gradients(tmp_path, seed: int, at: Geometry, split: str | None) -> None:
    """Of a drawn layer, against PyTorch."""
    weights, delta, scaling = seed % 5 > 0, seed % 7 > 1, seed % 2 > 0
    limits = LIMITS[seed % 7 % 4]
    depthwise = at.per_group == (1, 1) and at.group > 1
    saves = split == "inputs" or (split and depthwise)
    of = layer(
        seed,
        at,
        split=split,
        delta=delta,
        exact_scales=True,
        limits=limits,
        outputs=("y", "", "saved" if saves else "", "scratch"),
    )
    graph, plan, real = learning(of, weights=weights, scaling=scaling)
    net = HostNet(graph, plan, tmp_path)
    s_x, s_w, s_y = of.scales
    filters = of.filters * s_w.astype(np.float64).reshape(-1, 1, 1, 1)
    bias = of.values["b"] * s_x * s_w.astype(np.float64)
    bias += of.values.get("delta", np.zeros_like(bias)) / 256 * s_y
    leaves = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (real, filters, bias)
    ]
    expected = fake_quantised(of, limits, *leaves)
    one = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(net.forward(one), expected.detach().numpy())

    target = np.random.default_rng(seed).normal(size=expected.shape).astype(np.float32) * s_y * 50
    net.train(one, target=target)
    functional.mse_loss(expected, torch.tensor(target, dtype=torch.float64)).backward()
    x, w, b = (leaf.grad.numpy() for leaf in leaves)
    step_w = 1 / s_w if scaling else s_w
    step_b = 1 / s_y if scaling else (s_x * s_w) ** 2 / s_y
    w = w * step_w.reshape(-1, 1, 1, 1)
    if split:
        axis = 1 if split == "inputs" else 0
        w = w.take(of.values["order"][: of.values["w"].shape[axis]], axis)
    close(net.parameter("<x.real.b.sum>").reshape(x.shape), x)
    if weights:
        close(net.parameter("<w.sum>"), w)
    if delta:
        close(net.parameter("<delta.sum>"), b * step_b)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("seed", range(6))
def test_generated_code_has_no_finding(tmp_path, seed):
    """Of the sanitizers, and of clang's warnings."""
    group, split = [(1, "inputs"), (1, None), (4, "outputs"), (4, None), (2, "outputs")][seed % 5]
    at = Geometry(
        group,
        (1, 1) if group == 4 else (5, 3),
        (7, 8),
        [(3, 2), (1, 1), (5, 3)][seed % 3],
        [(1, 1), (2, 1)][seed % 2],
        (1, 1),
        (1, 2, 2, 0),
    )
    saved = "saved" if split == "inputs" or (split and group == 4) else ""
    outputs = ("y", "", saved, "scratch")
    graph, plan, _ = learning(layer(seed, at, split=split, delta=True, outputs=outputs))
    training = differentiate(graph, plan)
    network = render_network(training, plan_arena(training), plan, source="test", version="0")
    for name, text in (network.files | {"main.c": MAIN}).items():
        (tmp_path / name).write_text(text)
    run_sanitized(tmp_path / "main.c")
    check_with_clang(tmp_path / "main.c")


def test_depthwise_learns_in_place(tmp_path):
    """Forward, and back where only the bias learns: one map's memory serves for x and y."""
    at = Geometry(4, (1, 1), (6, 6), (3, 3), pads=(1, 1, 1, 1))
    of = layer(5, at, delta=True, outputs=("y", "", "", "scratch"))
    graph, plan, _ = learning(of, weights=False)
    offsets = plan_arena(differentiate(graph, plan)).offsets
    assert offsets["x"] == offsets["y"]
    assert offsets["x.gradient"] == offsets["y.gradient"]
