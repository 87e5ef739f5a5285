"""Networks to fit `tinyodl/planner/cycles.py` with: common layers in many sizes, random weights.

They are made here, so whoever renews the coefficients needs no file. None is a network that the
coefficients are checked with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinyodl.graph import Array

SCALE = 0.05  # of int8 activations


class Network:
    """An ONNX model, layer by layer, in float32 or with int8 layers in the QDQ form."""

    def __init__(self, int8: bool, *shape: int) -> None:
        self.shape = (1, *shape)
        self._int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._held: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)
        self._scale = 1.0  # of the last weight
        self._channels = shape[0]
        self.last = self._rounded("x")

    def conv(
        self, filters: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1), relu: bool = True
    ) -> Network:
        """A convolution of all channels, padded to keep the map's size at stride 1."""
        return self._conv(filters, 1, kernel, stride, relu)

    def depthwise(self, kernel: Sequence[int], stride: Sequence[int] = (1, 1)) -> Network:
        """A filter for each channel."""
        return self._conv(self._channels, self._channels, kernel, stride, relu=True)

    def pointwise(self, filters: int, relu: bool = True) -> Network:
        """A convolution of single pixels."""
        return self._conv(filters, 1, (1, 1), (1, 1), relu)

    def dense(self, outputs: int, relu: bool = False) -> Network:
        """A fully connected layer, of what has been flattened before."""
        given = [self.last, self._weight(outputs, self._channels), self._bias(outputs)]
        self.last = self._add("Gemm", given, transB=1)
        self._channels = outputs
        return self._end(relu)

    def plus(self, other: str) -> Network:
        """Add an earlier map of the same shape."""
        self.last = self._add("Add", [self.last, other])
        return self._end(relu=False)

    def normalized(self) -> Network:
        """A convolution of all channels with a BatchNormalization and Relu behind it."""
        self._conv(self._channels + 4, 1, (3, 3), (1, 1), relu=False)
        n = self._channels
        constants = [np.ones(n), np.zeros(n), np.zeros(n), np.ones(n)]
        held = [self._hold(each.astype(np.float32)) for each in constants]
        self.last = self._add("BatchNormalization", [self.last, *held])
        return self._end(relu=True)

    def softmax(self) -> Network:
        """Probabilities of the classes."""
        self.last = self._rounded(self._add("Softmax", [self.last]), -128)
        return self

    def pool(self, op: str, kernel: Sequence[int] = (), size: int = 1) -> Network:
        """MaxPool or AveragePool of windows without overlap; or a GlobalAveragePool, flattened."""
        windows = {"kernel_shape": kernel, "strides": kernel} if kernel else {}
        self.last = self._rounded(self._add(op, [self.last], **windows))
        return self if kernel else self.flatten(size)

    def flatten(self, positions: int) -> Network:
        """A row of everything; each channel has `positions`."""
        self.last = self._add("Flatten", [self.last])
        self._channels *= positions
        return self

    def save(self, path: Path) -> Path:
        """Write the model."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, [None, None])]
        graph = helper.make_graph(self._nodes, "network", inputs, outputs, self._held)
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path

    def _conv(
        self, filters: int, group: int, kernel: Sequence[int], stride: Sequence[int], relu: bool
    ) -> Network:
        weight = self._weight(filters, self._channels // group, *kernel)
        pads = [size // 2 for size in kernel] * 2
        inputs = [self.last, weight, self._bias(filters)]
        self.last = self._add("Conv", inputs, pads=pads, strides=stride, group=group)
        self._channels = filters
        return self._end(relu)

    def _end(self, relu: bool) -> Network:
        if relu:
            self.last = self._add("Relu", [self.last])
        self.last = self._rounded(self.last, -128 if relu else 5)
        return self

    def _add(self, op: str, inputs: Sequence[str], **attrs: Any) -> str:
        name = f"{op.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [f"{name}.y"], name, **attrs))
        return f"{name}.y"

    def _hold(self, value: Array) -> str:
        name = f"c{len(self._held)}"
        self._held.append(numpy_helper.from_array(value, name))
        return name

    def _rounded(self, name: str, zero_point: int = -7) -> str:
        if not self._int8:
            return name
        steps = [self._hold(np.array(SCALE, np.float32)), self._hold(np.array(zero_point, np.int8))]
        return self._add("DequantizeLinear", [self._add("QuantizeLinear", [name, *steps]), *steps])

    def _weight(self, *shape: int) -> str:
        fan_in = math.prod(shape[1:])
        if not self._int8:
            values = self._random.normal(0, 1 / math.sqrt(fan_in), shape)
            return self._hold(values.astype(np.float32))
        integers = self._random.integers(-127, 127, shape, endpoint=True).astype(np.int8)
        self._scale = 1 / (73 * math.sqrt(fan_in))
        return self._integers(integers, self._scale)

    def _bias(self, size: int) -> str:
        if not self._int8:
            return self._hold(self._random.normal(0, 0.1, size).astype(np.float32))
        integers = self._random.integers(-999, 999, size).astype(np.int32)
        return self._integers(integers, self._scale * SCALE)

    def _integers(self, integers: Array, scale: float) -> str:
        scales = np.full(len(integers), scale, np.float32)
        steps = [self._hold(scales), self._hold(np.zeros(len(integers), integers.dtype))]
        return self._add("DequantizeLinear", [self._hold(integers), *steps], axis=0)


def _image(n: Network) -> Network:
    n.conv(8, (3, 3)).conv(12, (3, 3), (2, 2)).conv(16, (5, 5)).pool("MaxPool", (2, 2))
    return n.pointwise(24).conv(20, (3, 3), (2, 2)).pool("GlobalAveragePool").dense(10)


def _spectrogram(n: Network) -> Network:
    n.conv(16, (9, 5), (2, 2)).depthwise((3, 3)).pointwise(24).depthwise((3, 3), (2, 2))
    n.pointwise(32).depthwise((5, 5)).pointwise(32).depthwise((7, 7)).pointwise(40)
    return n.pool("GlobalAveragePool").dense(12).softmax()


def _motion(n: Network) -> Network:
    n.conv(16, (1, 5)).pool("MaxPool", (1, 2)).conv(24, (1, 3)).pool("AveragePool", (1, 2))
    return n.conv(32, (1, 3)).pool("GlobalAveragePool").dense(7)


def _inverted(n: Network) -> Network:
    n.conv(8, (3, 3), (2, 2))
    before = n.pointwise(12, relu=False).last
    n.pointwise(36).depthwise((3, 3)).pointwise(12, relu=False).plus(before)
    n.pointwise(40).depthwise((5, 5), (2, 2))
    before = n.pointwise(20, relu=False).last
    n.pointwise(60).depthwise((7, 7)).pointwise(20, relu=False).plus(before)
    n.pointwise(72).depthwise((3, 3), (2, 2)).pointwise(28, relu=False)
    return n.pool("GlobalAveragePool").dense(5)


def _deep(n: Network) -> Network:
    n.pointwise(64).pointwise(64).conv(48, (3, 3), (2, 2)).pointwise(96).pointwise(32)
    n.conv(32, (3, 3), (2, 2)).pointwise(128).conv(24, (3, 3), (2, 2)).pointwise(80)
    return n.flatten(4).dense(48, relu=True).dense(100).softmax()


def _large_maps(n: Network) -> Network:
    n.conv(6, (5, 5), (2, 2)).pool("MaxPool", (2, 2)).conv(10, (5, 5)).pool("AveragePool", (3, 3))
    return n.flatten(16).dense(60, relu=True).dense(10)


def _normalized(n: Network) -> Network:
    n.normalized().pool("MaxPool", (2, 2)).normalized().normalized()
    return n.pool("GlobalAveragePool").dense(6)


NETWORKS: Mapping[str, tuple[tuple[int, ...], Callable[[Network], Network]]] = {
    "image": ((3, 32, 32), _image),
    "spectrogram": ((1, 40, 12), _spectrogram),
    "motion": ((6, 1, 128), _motion),
    "mlp": ((200,), lambda n: n.dense(96, relu=True).dense(48, relu=True).dense(20)),
    "small": ((30,), lambda n: n.dense(17, relu=True).dense(4)),
    "autoencoder": ((48,), lambda n: n.dense(30, relu=True).dense(6, relu=True).dense(48)),
    "inverted": ((3, 32, 32), _inverted),
    "deep": ((16, 12, 12), _deep),
    "normalized": ((2, 20, 24), _normalized),
    "large maps": ((1, 50, 50), _large_maps),
}
