"""Evaluates a Graph in numpy and float64: the meaning of the IR, written as plainly as possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinyodl.graph import Array, Graph, Node


def evaluate(graph: Graph, x: Array, learned: dict[str, Array] | None = None) -> Array:
    """The output for one input. `learned` replaces constants by name."""
    values = {name: t.data.astype(np.float64) for name, t in graph.constants.items()}
    values |= {name: value.astype(np.float64) for name, value in (learned or {}).items()}
    (entry,), (output,) = graph.inputs, graph.outputs
    values[entry] = x.astype(np.float64)
    for node in graph.nodes:
        given = [values[name] if name else None for name in node.inputs]
        value = OPERATORS[node.op](node, *given)
        assert value.shape == graph.shape(node.outputs[0]), node
        values[node.outputs[0]] = value
    return values[output]


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
    total = _windows(node, x, kernel, 0.0, beyond).sum((-2, -1))[None]
    counted = np.ones_like(x)
    if node.attrs["count_include_pad"]:
        top, left, bottom, right = node.attrs["pads"]
        counted = np.pad(counted, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        node = replace(node, attrs={**node.attrs, "pads": (0, 0, 0, 0)})
    return total / _windows(node, counted, kernel, 0.0, beyond).sum((-2, -1))[None]


def _softmax(node, x):
    assert node.attrs["axis"] == x.ndim - 1
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


OPERATORS = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": _average_pool,
    "Clip": lambda node, x: np.clip(x, node.attrs["min"], node.attrs["max"]),
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "ReduceMean": lambda node, x: x.mean(node.attrs["axes"], keepdims=node.attrs["keepdims"]),
    "Relu": lambda node, x: np.maximum(x, 0),
    "Reshape": lambda node, x: x.reshape(node.attrs["shape"]),
    "Softmax": _softmax,
}
