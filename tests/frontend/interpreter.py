"""Evaluates a Graph in numpy: the meaning of the IR, written as plainly as possible.

Real numbers are float64. int8 operators work with int64, and with float32 exactly where the kernels
do: what they make is theirs to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinyodl.graph import Array, Graph, Node, Quantization


def evaluate(graph: Graph, x: Array, learned: dict[str, Array] | None = None) -> Array:
    """The output for one input. `learned` replaces constants by name."""
    return values_of(graph, x, learned)[graph.outputs[0]]


def values_of(
    graph: Graph,
    x: Array,
    learned: dict[str, Array] | None = None,
    instead: Callable[[str, Array], Array] = lambda name, value: value,
) -> dict[str, Array]:
    """Every tensor. What is made may be replaced by what `instead` makes of it."""
    held = {name: t.data for name, t in graph.constants.items()} | (learned or {})
    values = {name: _wide(value) for name, value in held.items()}
    ((entry,), tensors) = graph.inputs, graph.tensors
    int8 = tensors[entry].dtype == "int8"
    values[entry] = _wide(tensors[entry].quantization.quantize(x) if int8 else x)
    for node in graph.nodes:
        given = [values[name] if name else None for name in node.inputs]
        quantized = [tensors[n].quantization for n in (*node.inputs, node.outputs[0]) if n]
        value = (
            INTEGERS[node.op](node, quantized, *given)
            if node.op in INTEGERS
            else OPERATORS[node.op](node, *given)
        )
        assert value.shape == graph.shape(node.outputs[0]), node
        values[node.outputs[0]] = instead(node.outputs[0], value)
    return values


def _wide(value: Array) -> Array:
    return value.astype(np.float64 if value.dtype.kind == "f" else np.int64)


def _windows(
    node: Node, x: Array, kernel: tuple[int, ...], fill: float, beyond: tuple[int, int] = (0, 0)
) -> Array:
    """(C, OH, OW, KH, KW)"""
    top, left, bottom, right = node.attrs["pads"]
    bottom, right = bottom + beyond[0], right + beyond[1]
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    dilations = node.attrs.get("dilations", (1, 1))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    seen = sliding_window_view(padded, reach, axis=(1, 2))
    (sh, sw), (dh, dw) = node.attrs["strides"], dilations
    return seen[:, ::sh, ::sw, ::dh, ::dw]


def _conv(node, x, w, b):
    groups = node.attrs["group"]
    seen = _windows(node, x, w.shape[2:], 0.0)
    parts = [
        np.tensordot(ws, xs, axes=((1, 2, 3), (0, 3, 4)))
        for ws, xs in zip(np.split(w, groups), np.split(seen, groups), strict=True)
    ]
    y = np.concatenate(parts)
    return (y if b is None else y + b[:, None, None])[None]


def _gemm(node, x, w, b):
    return x @ w.T + (0.0 if b is None else b)


def _max_pool(node, x):
    return _windows(node, x, node.attrs["kernel"], -np.inf).max((-2, -1))[None]


def _average_pool(node, x):
    kernel, beyond = node.attrs["kernel"], node.attrs["beyond"]
    return _windows(node, x, kernel, 0.0, beyond).sum((-2, -1))[None] / _counted(node, x)


def _counted(node, x):
    """How many elements each window averages."""
    counted = np.ones(x.shape)
    if node.attrs["count_include_pad"]:
        top, left, bottom, right = node.attrs["pads"]
        counted = np.pad(counted, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        node = replace(node, attrs={**node.attrs, "pads": (0, 0, 0, 0)})
    kernel, beyond = node.attrs["kernel"], node.attrs["beyond"]
    return _windows(node, counted, kernel, 0.0, beyond).sum((-2, -1))[None]


def _softmax(node, x):
    assert node.attrs["axis"] == x.ndim - 1
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


OPERATORS = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": _average_pool,
    "Concat": lambda node, *xs: np.concatenate(xs, node.attrs["axis"]),
    "Clip": lambda node, x: np.clip(x, node.attrs["min"], node.attrs["max"]),
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "ReduceMean": lambda node, x: x.mean(node.attrs["axes"], keepdims=node.attrs["keepdims"]),
    "Relu": lambda node, x: np.maximum(x, 0),
    "Reshape": lambda node, x: x.reshape(node.attrs["shape"]),
    "Softmax": _softmax,
    "Transpose": lambda node, x: x.transpose(node.attrs["perm"]),
}


def _requantized(node: Node, v: Array, y: Quantization) -> Array:
    """v: steps of the output, float32"""
    assert v.dtype == np.float32
    low, high = node.attrs["low"], node.attrs["high"]
    return (np.rint(np.clip(v, low - y.zero_point, high - y.zero_point)) + y.zero_point).astype(
        np.int64
    )


def _qlinear_conv(node, quantized, x, w, b, multiplier, delta=None, rest=None, order=None):
    assert delta is rest is order is None
    total = _conv(node, x - quantized[0].zero_point, w, b).astype(np.int64)
    assert np.abs(total).max() < 1 << 31
    scale = multiplier.astype(np.float32)[:, None, None]
    return _requantized(node, total.astype(np.float32) * scale, quantized[-1])


def _qlinear_add(node, quantized, a, b):
    of_a, of_b, y = quantized
    first, second = (
        (q - of.zero_point).astype(np.float32) * np.float32(node.attrs[factor])
        for q, of, factor in ((a, of_a, "a_factor"), (b, of_b, "b_factor"))
    )
    return _requantized(node, first + second, y)


def _qlinear_average_pool(node, quantized, x):
    of_x, y = quantized
    kernel, beyond = node.attrs["kernel"], node.attrs["beyond"]
    total = _windows(node, x - of_x.zero_point, kernel, 0, beyond).sum((-2, -1))[None]
    factor, counted = np.float32(node.attrs["factor"]), _counted(node, x).astype(np.float32)
    return _requantized(node, total.astype(np.float32) * factor / counted, y)


def _dequantized(node, quantized, q):
    of = quantized[0]
    return ((q - of.zero_point).astype(np.float32) * np.float32(of.scale[0])).astype(np.float64)


def _dequantized_channels(node, quantized, q, scales):
    of, shape = quantized[0], (-1, *(1,) * (q.ndim - 2))
    return (q - of.zero_point) * scales.reshape(shape)


def _quantized_channels(node, quantized, x, scales):
    shape = (-1, *(1,) * (x.ndim - 2))
    v = x.astype(np.float32) / scales.astype(np.float32).reshape(shape)
    return _requantized(node, v, quantized[-1])


INTEGERS = {
    "DequantizeChannels": _dequantized_channels,
    "DequantizeLinear": _dequantized,
    "QuantizeChannels": _quantized_channels,
    "QLinearAdd": _qlinear_add,
    "QLinearAveragePool": _qlinear_average_pool,
    "QLinearConv": _qlinear_conv,
    "QLinearLookup": lambda node, quantized, x, table, slopes: table[x + 128],
    "QLinearMaxPool": lambda node, quantized, x: _windows(node, x, node.attrs["kernel"], -128).max(
        (-2, -1)
    )[None],
    "QuantizeLinear": lambda node, quantized, x: _wide(quantized[-1].quantize(x)),
}
