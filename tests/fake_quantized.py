"""A fused graph in PyTorch: float64, fake quantisation, the straight-through estimator.

Activations are real values that lie on the grid of their int8 tensor. A value is rounded half to
even and clamped; its gradient passes unchanged where neither an activation nor the range of int8
has cut it off, and not at all where one has. PyTorch does the rest: convolutions, pools, the loss.

Where a value lies within float32 rounding of a tie or of such a bound, two correct programs may
take different sides; `margin` says how near a sample came to that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as functional

from tinyodl.graph import Graph, Node

Values = dict[str, torch.Tensor]


def leaves(graph: Graph) -> Values:
    """The real value of every constant, float64, ready for gradients; biases in steps of sums."""
    found = {}
    for tensor in graph.constants.values():
        value = tensor.data.astype(np.float64)
        if tensor.dtype == "int8":
            scales = tensor.quantization.scales(tensor.shape[0]).astype(np.float64)
            value = value * scales.reshape(-1, *(1,) * (value.ndim - 1))
        found[tensor.name] = torch.tensor(value, requires_grad=True)
    return found


def run(graph: Graph, constants: Mapping[str, torch.Tensor], inputs: Values) -> Values:
    """Every tensor of the graph, real values; inputs are put on the grid of theirs first."""
    values = {**constants}
    for name, value in inputs.items():
        quantization = graph.tensor(name).quantization
        if quantization is None:
            values[name] = value
        else:
            scale, zero = quantization.scale[0], quantization.zero_point
            steps = torch.round(value / scale).clamp(-128 - zero, 127 - zero)
            values[name] = steps * scale
    for node in graph.nodes:
        given = [values[name] if name else None for name in node.inputs]
        made = _RULES[node.op](node, graph, *given)
        y = node.outputs[0]
        if "pass_low" in node.attrs:
            values[f"{y} in steps"] = made / graph.tensor(y).quantization.scale[0]
            made = on_grid(node, graph, made)
        values[y] = made
    return values


def on_grid(node: Node, graph: Graph, real: torch.Tensor) -> torch.Tensor:
    """Fake quantisation to the node's output, straight through where its bounds let it pass."""
    quantization = graph.tensor(node.outputs[0]).quantization
    scale, zero, bounds = quantization.scale[0], quantization.zero_point, node.attrs
    v = real / scale
    q = (torch.round(v) + zero).clamp(bounds["low"], bounds["high"])
    passing = real * ((v > bounds["pass_low"]) & (v < bounds["pass_high"]))
    return passing + ((q - zero) * scale - passing).detach()


def margin(graph: Graph, values: Values) -> float:
    """The smallest distance from a tie or a bound, as a part of the value that came near."""
    smallest = np.inf
    for node in graph.nodes:
        if "pass_low" not in node.attrs:
            continue
        v = values[f"{node.outputs[0]} in steps"].detach()
        ties = (v - torch.floor(v) - 0.5).abs()
        bounds = [(v - node.attrs[name]).abs() for name in ("pass_low", "pass_high")]
        for distance in bounds:  # 0 is certain: v is a product with a sum that is 0
            distance[distance == 0] = np.inf
        nearest = torch.minimum(ties, torch.minimum(*bounds)) / v.abs().clamp(min=1)
        smallest = min(smallest, nearest.min().item())
    return smallest


def _conv(node, graph, x, w, b, *_):
    """The sum of integers, exact as such: what is 0 on the device is 0 here."""
    s_x = graph.tensor(node.inputs[0]).quantization.scale[0]
    s_w = graph.tensor(node.inputs[1]).quantization.scales(w.shape[0]).astype(np.float64)
    filters = torch.tensor(s_w).reshape(-1, 1, 1, 1)
    top, left, bottom, right = node.attrs["pads"]
    steps = functional.conv2d(
        functional.pad(x / s_x, (left, right, top, bottom)),
        w / filters,
        b,
        stride=node.attrs["strides"],
        dilation=node.attrs["dilations"],
        groups=node.attrs["group"],
    )
    exact = steps + (torch.round(steps) - steps).detach()
    return exact * (filters.reshape(1, -1, 1, 1) * s_x)


def _average_pool(node, graph, x):
    assert not any(node.attrs["pads"]) and tuple(node.attrs["dilations"]) == (1, 1)
    return functional.avg_pool2d(x, node.attrs["kernel"], node.attrs["strides"])


def _max_pool(node, graph, x):
    assert not any(node.attrs["pads"]) and tuple(node.attrs["dilations"]) == (1, 1)
    return functional.max_pool2d(x, node.attrs["kernel"], node.attrs["strides"])


_RULES = {
    "QLinearConv": _conv,
    "QLinearAdd": lambda n, g, a, b: a + b,
    "QLinearAveragePool": _average_pool,
    "QLinearMaxPool": _max_pool,
    "QuantizeLinear": lambda n, g, x: x,
    "DequantizeLinear": lambda n, g, x: x,
    "Reshape": lambda n, g, x: x.reshape(n.attrs["shape"]),
    "Softmax": lambda n, g, x: torch.softmax(x, n.attrs["axis"]),
    "Gemm": lambda n, g, x, w, b: functional.linear(x, w, b),
    "Relu": lambda n, g, x: torch.relu(x),
}
