"""Random networks as ONNX files: branches, shared weights and mixed operators on small images.

A network grows from its input: each step draws a tensor that exists and an operator that fits it.
What nobody has read at the end is pooled or flattened, concatenated, and goes through one or two
dense layers. The same seed gives the same file.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]

SMOOTH = ("Sigmoid", "Tanh", "Softplus", "Gelu")
KINKED = ("Relu", "LeakyRelu", "PRelu", "Elu", "Clip", "HardSigmoid", "HardSwish", "Abs")


def random_model(seed: int, steps: int = 10) -> onnx.ModelProto:
    """A classifier with 4 outputs on an image (1, C, H, W)."""
    return _Builder(seed).build(steps)


class _Builder:
    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        self.unread: list[str] = []
        self.shared: dict[Shape, list[str]] = {}  # weights by shape, for layers that share them

    def build(self, steps: int) -> onnx.ModelProto:
        shape = (1, self.integer(1, 3), self.integer(6, 10), self.integer(6, 10))
        self.add("x", shape)
        self.conv("x")
        for _ in range(steps):
            kinds = [self.conv, self.shared_conv, self.activation, self.binary, self.concat,
                     self.split, self.pool, self.norm, self.rearrange, self.residual]  # fmt: skip
            kinds[self.integer(0, len(kinds) - 1)](self.any())
        y = self.classifier()
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 4])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opset = helper.make_opsetid("", 20)
        return helper.make_model(graph, opset_imports=[opset], ir_version=9)

    # What a step may add

    def conv(self, x: str) -> None:
        _, channels, height, width = self.shapes[x]
        kernel = (min(self.integer(1, 3), height), min(self.integer(1, 3), width))
        group = channels if self.flip() else 1
        outputs = group * self.integer(1, 2) if group > 1 else self.integer(1, 5)
        weight = self.weight((outputs, channels // group, *kernel))
        inputs = [x, weight, self.weight((outputs,))] if self.flip() else [x, weight]
        stride = self.integer(1, 2) if min(height, width) > 5 else 1
        pads = [(k - 1) // 2 for k in kernel] * 2
        size = [
            (s + 2 * p - k) // stride + 1
            for s, p, k in zip((height, width), pads[:2], kernel, strict=True)
        ]
        self.node("Conv", inputs, (1, outputs, *size), strides=[stride] * 2, pads=pads, group=group)

    def shared_conv(self, x: str) -> None:
        """Two 1x1 layers with one weight, which earlier and later layers may use too."""
        channels = self.shapes[x][1]
        shape = (channels, channels, 1, 1)
        held = self.shared.setdefault(shape, [])
        if not held or not self.flip():
            held.append(self.weight(shape))
        once = self.node("Tanh", [self.node("Conv", [x, held[-1]], self.shapes[x])], self.shapes[x])
        self.node("Conv", [once, held[-1]], self.shapes[x])

    def activation(self, x: str) -> None:
        op = str(self.draw.choice((*SMOOTH, *KINKED)))
        extra: list[str] = []
        attrs: dict[str, object] = {}
        if op == "PRelu":
            extra = [self.constant(self.draw.uniform(0.1, 0.4, (self.shapes[x][1], 1, 1)))]
        elif op == "Clip":
            extra = [self.constant(np.float32(-0.5)), self.constant(np.float32(1.0))]
        elif op in ("LeakyRelu", "Elu"):
            attrs["alpha"] = float(self.draw.uniform(0.1, 1.0))
        elif op == "Gelu":
            attrs["approximate"] = "tanh" if self.flip() else "none"
        self.node(op, [x, *extra], self.shapes[x], **attrs)

    def binary(self, x: str) -> None:
        others = [name for name, shape in self.shapes.items() if shape == self.shapes[x]]
        other = others[self.integer(0, len(others) - 1)]
        self.node(str(self.draw.choice(("Add", "Sub", "Mul"))), [x, other], self.shapes[x])

    def residual(self, x: str) -> None:
        """x + 3x3 Conv of an activation of x."""
        channels = self.shapes[x][1]
        self.activation(x)
        inner = self.unread[-1]
        weight = self.weight((channels, channels, 3, 3))
        inner = self.node("Conv", [inner, weight], self.shapes[x], pads=[1, 1, 1, 1])
        self.node("Add", [x, inner], self.shapes[x])

    def concat(self, x: str) -> None:
        space = self.shapes[x][2:]
        others = [name for name, shape in self.shapes.items() if shape[2:] == space]
        parts = [x, *(others[self.integer(0, len(others) - 1)] for _ in range(self.integer(1, 2)))]
        channels = sum(self.shapes[part][1] for part in parts)
        if channels <= 12:
            self.node("Concat", parts, (1, channels, *space), axis=1)

    def split(self, x: str) -> None:
        axis = self.integer(1, 3)
        shape = self.shapes[x]
        if shape[axis] < 4:
            return
        first = self.integer(1, shape[axis] - 1)
        sizes = (first, shape[axis] - first)
        made = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
        outputs = [f"t{len(self.shapes)}", f"t{len(self.shapes) + 1}"]
        given = [x, self.constant(np.asarray(sizes, np.int64))]
        self.nodes.append(helper.make_node("Split", given, outputs, self.name("Split"), axis=axis))
        self.read(x)
        for output, size in zip(outputs, made, strict=True):
            self.add(output, size)

    def pool(self, x: str) -> None:
        _, channels, height, width = self.shapes[x]
        if min(height, width) < 4:
            return
        op = str(self.draw.choice(("MaxPool", "AveragePool")))
        size = (1, channels, (height - 2) // 2 + 1, (width - 2) // 2 + 1)
        self.node(op, [x], size, kernel_shape=[2, 2], strides=[2, 2])

    def norm(self, x: str) -> None:
        """A BatchNormalization stands behind an activation, where no layer absorbs it."""
        channels, width = self.shapes[x][1], self.shapes[x][-1]
        kind = self.integer(0, 2)
        if kind == 0 and width > 3:
            around = self.constant(self.draw.uniform(0.5, 1.5, width))
            self.node("LayerNormalization", [x, around, self.weight((width,))], self.shapes[x],
                      epsilon=0.1)  # fmt: skip
        elif kind == 1 and prod(self.shapes[x][2:]) > 3:
            given = [self.constant(self.draw.uniform(0.5, 1.5, channels)), self.weight((channels,))]
            self.node("InstanceNormalization", [x, *given], self.shapes[x], epsilon=0.1)
        else:
            self.node(str(self.draw.choice(SMOOTH[:2])), [x], self.shapes[x])
            self.node("BatchNormalization", [self.unread[-1], *self.statistics(channels)],
                      self.shapes[x])  # fmt: skip

    def statistics(self, channels: int) -> list[str]:
        scale, variance = (self.draw.uniform(0.5, 1.5, channels) for _ in range(2))
        mean = self.draw.normal(0, 0.3, channels)
        return [self.constant(scale), self.weight((channels,)), self.constant(mean),
                self.constant(variance)]  # fmt: skip

    def rearrange(self, x: str) -> None:
        _, channels, height, width = self.shapes[x]
        kind = self.integer(0, 2)
        if kind == 0:
            self.node("Transpose", [x], (1, channels, width, height), perm=[0, 1, 3, 2])
        elif kind == 1 and min(height, width) > 2:
            mode = str(self.draw.choice(("constant", "reflect", "edge")))
            pads = self.constant(np.int64([0, 0, 1, 0, 0, 0, 0, 1]))
            self.node("Pad", [x, pads], (1, channels, height + 1, width + 1), mode=mode)
        elif kind == 2 and height > 3:
            given = [self.constant(np.int64([v])) for v in (1, height, 2)]
            self.node("Slice", [x, *given], (1, channels, height - 1, width))

    def classifier(self) -> str:
        rows = []
        for x in list(self.unread):
            shape = self.shapes[x]
            if prod(shape) > 64:
                op = str(self.draw.choice(("GlobalAveragePool", "GlobalMaxPool")))
                x = self.node(op, [x], (1, shape[1], 1, 1))
            rows.append(self.node("Flatten", [x], (1, prod(self.shapes[x]))))
        features = sum(self.shapes[row][1] for row in rows)
        x = self.node("Concat", rows, (1, features), axis=1) if len(rows) > 1 else rows[0]
        if self.flip():
            given = [x, self.weight((8, features)), self.weight((8,))]
            x = self.node("Gemm", given, (1, 8), transB=1)
            x, features = self.node("Tanh", [x], (1, 8)), 8
        return self.node("Gemm", [x, self.weight((4, features)), self.weight((4,))], (1, 4),
                         transB=1)  # fmt: skip

    # How it is written down

    def node(self, op: str, inputs: list[str], shape: Shape, **attrs: object) -> str:
        output = f"t{len(self.shapes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], self.name(op), **attrs))
        for name in inputs:
            self.read(name)
        self.add(output, tuple(shape))
        return output

    def name(self, op: str) -> str:
        return f"{op.lower()}{len(self.nodes)}"

    def add(self, name: str, shape: Shape) -> None:
        self.shapes[name] = shape
        self.unread.append(name)

    def read(self, name: str) -> None:
        if name in self.unread:
            self.unread.remove(name)

    def weight(self, shape: Shape) -> str:
        fan_in = prod(shape[1:]) if len(shape) > 1 else 16
        return self.constant(self.draw.normal(0, 1 / sqrt(fan_in), shape))

    def constant(self, value: np.ndarray | np.float32) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value)
        self.constants[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        return name

    def any(self) -> str:
        """A tensor of the network, more often a late one."""
        names = list(self.shapes)
        return names[-1 - min(self.integer(0, 4), self.integer(0, len(names) - 1))]

    def integer(self, low: int, high: int) -> int:
        return int(self.draw.integers(low, high, endpoint=True))

    def flip(self) -> bool:
        return bool(self.draw.integers(2))
