"""Kernels on an nRF52840, layer by layer, beside what others take for the same.

    .venv/bin/python benchmarks/kernels.py [PART OF A ROW'S NAME ...]

Layers: each is a model by itself. A gradient's layer stands in a small network, where it learns its
weights, or the layer before it learns its bias. A row is what `tinyodl.profile` counts for the one
node: padding, bias, requantisation, clamp and SGD included. Networks: a step of the MLP, of the
watch model, and inference of the int8 MLPerf Tiny models, which are not part of the project and are
looked for beside it, in shared/.

Instructions are exact, cycles modelled, both of the virtual board. What others take was counted the
same way with GCC 12.2, around one call: CMSIS-NN (2026-07), onnx2c and emx-onnx-cgen forward,
TinyEngine backward, AIfES 2.2 for the MLP.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tinyodl import pio
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph
from tinyodl.ops import OPERATORS, layers_of
from tinyodl.pio import find_arm_compiler
from tinyodl.project.layer_update import LayerUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan
from tinyodl.session.profiling import NodeCost, Profile
from tinyodl.targets.boards import load_board
from tinyodl.targets.firmware import C_FLAGS

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "models"
WATCH = ROOT / "examples" / "watch" / "watch_cnn_c7.onnx"
NETWORKS = ("resnet8_cifar10", "dscnn_kws", "mobilenetv1_025_vww")
BOARD = "nrf52840_dk"
SCALE = 0.05  # of int8 activations

Rates = tuple[float, float]  # instructions and cycles per multiply-accumulate
NO_RATES = (math.nan, math.nan)
CMSIS_NN = {"conv": 2.33, "pointwise": 2.09, "depthwise": 7.79, "dense": 1.95}  # ins/MAC, int8
CMSIS_NN_CODE = 20_272  # bytes of its kernels for these


class Network:
    """An ONNX model, node by node."""

    def __init__(self, *shape: int) -> None:
        self._int8 = False
        self.shape = (1, *shape)
        self._nodes: list[onnx.NodeProto] = []
        self._held: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self._scale = 1.0  # of the last weight
        self._last = "x"

    def quantize(self) -> Network:
        """From here on activations are int8, and the weights of layers."""
        self._int8 = True
        self._last = self._rounded(self._last)
        return self

    def conv(self, name: str, filters: int, channels: int, kernel: int, group: int = 1) -> Network:
        """A convolution that keeps the map's size."""
        weight = self._weight(filters, channels // group, kernel, kernel)
        inputs = [self._last, weight, self._bias(filters)]
        pads = [kernel // 2] * 4
        self._last = self._rounded(self._add("Conv", inputs, name, pads=pads, group=group))
        return self

    def classifier(self) -> Network:
        """A class for each channel."""
        return self.add("GlobalAveragePool").add("Flatten")

    def dense(self, name: str, inputs: int, outputs: int) -> Network:
        """A fully connected layer."""
        given = [self._last, self._weight(outputs, inputs), self._bias(outputs)]
        self._last = self._rounded(self._add("Gemm", given, name, transB=1))
        return self

    def add(self, op: str) -> Network:
        """An operator without constants."""
        self._last = self._add(op, [self._last], op.lower())
        if op != "Flatten":
            self._last = self._rounded(self._last)
        return self

    def save(self, path: Path) -> Path:
        """Write the model."""
        flat = len(self.shape) == 2 or any(node.op_type == "Flatten" for node in self._nodes)
        rank = 2 if flat else 4
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info(self._last, TensorProto.FLOAT, [None] * rank)]
        graph = helper.make_graph(self._nodes, "layer", inputs, outputs, self._held)
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path

    def _add(self, op: str, inputs: Sequence[str], name: str, **attrs: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [f"{name}.y"], name, **attrs))
        return f"{name}.y"

    def _hold(self, value: Array) -> str:
        name = f"c{len(self._held)}"
        self._held.append(numpy_helper.from_array(value, name))
        return name

    def _steps(self, scale: Array, kind: str) -> list[str]:
        return [self._hold(scale.astype(np.float32)), self._hold(np.zeros(scale.shape, kind))]

    def _rounded(self, name: str) -> str:
        if not self._int8:
            return name
        steps = self._steps(np.array(SCALE), "int8")
        number = len(self._nodes)
        rounded = self._add("QuantizeLinear", [name, *steps], f"q{number}")
        return self._add("DequantizeLinear", [rounded, *steps], f"dq{number}")

    def _weight(self, *shape: int) -> str:
        if not self._int8:
            return self._hold(self._random.normal(0, 0.1, shape).astype(np.float32))
        integers = self._random.integers(-127, 127, shape, endpoint=True).astype(np.int8)
        # As many standard deviations of the output as of the input are within the range of int8.
        self._scale = 1 / (73 * math.sqrt(math.prod(shape[1:])))
        steps = self._steps(np.full(shape[0], self._scale), "int8")
        name = f"dq{len(self._nodes)}"
        return self._add("DequantizeLinear", [self._hold(integers), *steps], name, axis=0)

    def _bias(self, size: int) -> str:
        if not self._int8:
            return self._hold(self._random.normal(0, 0.1, size).astype(np.float32))
        integers = self._random.integers(-999, 999, size).astype(np.int32)
        steps = self._steps(np.full(size, self._scale * SCALE), "int32")
        name = f"dq{len(self._nodes)}"
        return self._add("DequantizeLinear", [self._hold(integers), *steps], name, axis=0)


@dataclass(frozen=True)
class Layer:
    """A row: a node of layer "layer" in a network, and which layers of that learn."""

    name: str
    network: Network
    others: str
    theirs: Rates
    target: Rates = NO_RATES
    gradient: str = ""  # "InputGradient", "WeightGradient", or the layer itself
    learns: dict[str, LayerUpdate] = field(default_factory=dict)


def forward_layers() -> Iterator[Layer]:
    """Layers of networks in which nothing learns."""
    nan = math.nan
    yield Layer("int8 conv 3x3 16 to 16, 32x32, pad 1",
                Network(16, 32, 32).quantize().conv("layer", 16, 16, 3),
                "CMSIS-NN", (2.33, 2.78), (1.35, 1.9))  # fmt: skip
    yield Layer("int8 pointwise 64 to 64, 25x5",
                Network(64, 25, 5).quantize().conv("layer", 64, 64, 1),
                "CMSIS-NN", (2.09, 2.44), (1.25, 1.75))  # fmt: skip
    yield Layer("int8 pointwise 16 to 64, 28x28",
                Network(16, 28, 28).quantize().conv("layer", 64, 16, 1),
                "TinyEngine", (2.74, 3.33))  # fmt: skip
    yield Layer("int8 depthwise 3x3, 64 ch, 25x5, pad 1",
                Network(64, 25, 5).quantize().conv("layer", 64, 64, 3, 64),
                "CMSIS-NN", (7.79, 9.21), (4.6, 5.9))  # fmt: skip
    yield Layer("int8 dense 640 to 128", Network(640).quantize().dense("layer", 640, 128),
                "CMSIS-NN", (1.95, 2.44), (1.35, 1.75))  # fmt: skip
    yield Layer("int8 dense 256 to 10", Network(256).quantize().dense("layer", 256, 10),
                "CMSIS-NN", (2.14, 2.69))  # fmt: skip
    yield Layer("float32 conv 3x3 16 to 16, 32x32, pad 1",
                Network(16, 32, 32).conv("layer", 16, 16, 3),
                "CMSIS-NN", (5.48, 11.7), (nan, 4.0))  # fmt: skip
    yield Layer("float32 pointwise 64 to 64, 25x5", Network(64, 25, 5).conv("layer", 64, 64, 1),
                "CMSIS-NN", (5.30, 11.3), (nan, 3.6))  # fmt: skip
    yield Layer("float32 depthwise 3x3, 64 ch, 25x5, pad 1",
                Network(64, 25, 5).conv("layer", 64, 64, 3, 64),
                "emx-onnx-cgen", (4.46, 8.4), (nan, 6.0))  # fmt: skip
    yield Layer("float32 dense 640 to 128", Network(640).dense("layer", 640, 128),
                "onnx2c", (5.01, 10.0), (nan, 4.9))  # fmt: skip


def gradients() -> Iterator[Layer]:
    """Gradients of int8 layers; masters are int16."""
    before: dict[str, LayerUpdate] = {"before": "bias"}  # in float32: so the gradient is made whole
    itself: dict[str, LayerUpdate] = {"layer": "weights"}
    yield Layer("input gradient, pointwise 64 to 16, 28x28",
                Network(16, 28, 28).conv("before", 16, 16, 1, 16).quantize()
                .conv("layer", 64, 16, 1).classifier(),
                "TinyEngine", (5.94, 9.89), (3.0, 4.5), "InputGradient", before)  # fmt: skip
    yield Layer("input gradient, depthwise 3x3, 16x16x64",
                Network(64, 16, 16).conv("before", 64, 64, 1, 64).quantize()
                .conv("layer", 64, 64, 3, 64).classifier(),
                "TinyEngine", (3.98, 7.30), (3.0, 5.0), "InputGradient", before)  # fmt: skip
    yield Layer("weight gradient + SGD, pointwise 8x8, 16 to 64",
                Network(16, 8, 8).quantize().conv("layer", 64, 16, 1).classifier(),
                "TinyEngine", (4.15, 8.81), (2.8, 4.5), "WeightGradient", itself)  # fmt: skip
    yield Layer("weight gradient + SGD, pointwise 4x4, 16 to 64",
                Network(16, 4, 4).quantize().conv("layer", 64, 16, 1).classifier(),
                "TinyEngine", (5.81, 11.5), (3.5, 6.0), "WeightGradient", itself)  # fmt: skip
    yield Layer("weight gradient + SGD, dense 160 to 10",
                Network(160).quantize().dense("layer", 160, 10),
                "TinyEngine", (23.6, 35.3), (8.0, 12.0), "WeightGradient", itself)  # fmt: skip


def measured(model: Path, shape: Sequence[int], folder: Path, **options: Any) -> Profile:
    """One step with a random sample of a model's input shape."""
    x = np.random.default_rng(0).normal(size=(1, *shape[1:])).astype(np.float32)
    np.savez(folder / "sample.npz", x=x, y=np.zeros(1, np.int64))
    tinyodl.compile(model, BOARD, folder / "project", **options)
    return tinyodl.profile(folder / "project", folder / "sample.npz")


def under(learns: dict[str, LayerUpdate], folder: Path) -> str:
    """The plan file in which these layers learn."""
    path = folder / "plan.toml"
    path.write_text(dump_plan(UpdatePlan(layers=learns)))
    return str(path)


def row(layer: Layer, folder: Path) -> str:
    """A row of the first table."""
    model = layer.network.save(folder / "layer.onnx")
    found = measured(model, layer.network.shape, folder, update=under(layer.learns, folder))
    (cost,) = (cost for cost in found.nodes if _is_of(layer, cost))
    macs, count = cost.node.macs, cost.count
    ours = (count.instructions / macs, count.cycles / macs)
    cells = [f"{rate:.2f} | {cycles:.2f}" for rate, cycles in (ours, layer.theirs, layer.target)]
    return (
        f"| {layer.name} | {macs:,} | {count.instructions:,} | {cells[0]} | {cost.code_bytes:,} "
        f"| {layer.others} | {cells[1]} | {cells[2]} |".replace("nan", "")
    )


def _is_of(layer: Layer, cost: NodeCost) -> bool:
    if not layer.gradient:
        return cost.node.name == "layer"
    return cost.node.name.startswith("layer.") and cost.node.op.endswith(layer.gradient)


def mlp(folder: Path) -> str:
    """A step of AIfES's example in which all layers learn."""
    network = Network(561).dense("hidden", 561, 50).add("Relu").dense("output", 50, 6)
    model = network.save(folder / "mlp.onnx")
    found = measured(model, network.shape, folder, update="full")
    total = found.step
    ram = pio.build(folder / "project", load_board(BOARD)).ram_bytes
    return (
        f"MLP 561-50-6, float32, one step: {total.instructions:,} instructions, {total.cycles:,} "
        f"cycles, {ram:,} B of RAM.\nAIfES 2.2: 3,867,054, 6.04 M, 342,220 B. "
        "Target: 250,000 instructions, 125,000 B."
    )


def watch(folder: Path) -> str:
    """What it takes to learn the last layer, over inference."""
    total = measured(WATCH, (1, 6, 1, 100), folder, update="last").total
    forward = total["forward"]
    more = total["backward"] + total["update"]
    return (
        f"watch_cnn: inference {forward.instructions:,} instructions, {forward.cycles:,} cycles; "
        f"learning the last layer {more.instructions:,} and {more.cycles:,} more: "
        f"+{100 * more.instructions / forward.instructions:.2f} %, "
        f"+{100 * more.cycles / forward.cycles:.2f} %.\n"
        "TinyOL on another network: +9.9 % of time. Target: +3 %."
    )


def cmsis_nn(graph: Graph) -> dict[str, float]:
    """Instructions that CMSIS-NN's kernels need for each layer of an int8 model, by name."""
    needed = {}
    for node in layers_of(graph):
        filters, _, *kernel = graph.shape(node.inputs[1])
        if math.prod(graph.shape(node.outputs[0])) == filters:
            kind = "dense"
        elif node.attrs["group"] > 1:
            kind = "depthwise"
        else:
            kind = "pointwise" if kernel == [1, 1] else "conv"
        needed[node.name] = CMSIS_NN[kind] * OPERATORS[node.op].macs(node, graph)
    return needed


def inference(name: str, folder: Path) -> str:
    """A row of the table of int8 networks in which nothing learns."""
    model = SHARED / f"mlperftiny_{name}_int8.onnx"
    graph = import_model(model)
    found = measured(model, graph.shape(graph.inputs[0]), folder, update="none")
    theirs = cmsis_nn(graph)
    ours = sum(cost.count.instructions for cost in found.nodes if cost.node.name in theirs)
    whole = found.total["forward"].instructions
    needed = sum(theirs.values())
    return (
        f"| {name} | {ours:,} | {whole:,} | {needed:,.0f} | {ours / needed:.2f} "
        f"| {whole / needed:.2f} | {found.code_bytes:,} |"
    )


def main() -> None:
    """Print the tables; arguments choose rows by parts of their names."""

    def printed(name: str, line: Callable[[Path], str]) -> None:
        if len(sys.argv) == 1 or any(part in name for part in sys.argv[1:]):
            with tempfile.TemporaryDirectory() as folder:
                print(line(Path(folder)), flush=True)

    compiler = find_arm_compiler().title
    print(f"{compiler} {' '.join((*C_FLAGS, *load_board(BOARD).target.float_flags))}\n")
    print("| layer | MACs | instructions | ins/MAC | cyc/MAC | code, B | others | ins/MAC "
          "| cyc/MAC | target, ins/MAC | cyc/MAC |\n"
          "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|")  # fmt: skip
    for layer in (*forward_layers(), *gradients()):
        printed(layer.name, partial(row, layer))
    print("\nInt8 inference, instructions; 0.65 of what CMSIS-NN's kernels need for the same "
          f"layers is the target,\nand less than their {CMSIS_NN_CODE:,} B of code.\n"
          "\n| network | layers | everything | CMSIS-NN | layers / CMSIS-NN "
          "| everything / CMSIS-NN | code of the kernels, B |\n"
          "|---|--:|--:|--:|--:|--:|--:|")  # fmt: skip
    for network in NETWORKS:
        printed(network, partial(inference, network))
    print()
    printed("mlp", mlp)
    printed("watch", watch)


if __name__ == "__main__":
    main()
