"""LeakyRelu, ThresholdedRelu, HardSigmoid and HardSwish: activations made of straight pieces.

    LeakyRelu:        y = x where x > 0, else alpha * x
    ThresholdedRelu:  y = x where x > alpha, else 0
    HardSigmoid:      y = min(max(alpha * x + beta, 0), 1)
    HardSwish:        y = x * min(max(x / 6 + 1/2, 0), 1)

In the corners the gradient is PyTorch's. It is computed from y where y tells on which piece x is.
Attributes: alpha, beta.
"""

from __future__ import annotations

from tinyodl.ops.shared import OnnxNode, Scope, imports
from tinyodl.ops.shared.elementwise import import_as_is, register_elementwise

_KERNEL = "piecewise_f32.h"


@imports("LeakyRelu", becomes=("LeakyRelu",), covers="alpha")
def leaky_relu(node: OnnxNode, scope: Scope) -> None:
    """LeakyRelu."""
    attrs = {"alpha": node.number("alpha", 0.01)}
    scope.emit("LeakyRelu", node.name, (scope.activation(node, 0).name,), node.outputs[0], attrs)


@imports("ThresholdedRelu", becomes=("ThresholdedRelu",), covers="alpha")
def thresholded_relu(node: OnnxNode, scope: Scope) -> None:
    """ThresholdedRelu."""
    attrs = {"alpha": node.number("alpha", 1.0)}
    x = scope.activation(node, 0)
    scope.emit("ThresholdedRelu", node.name, (x.name,), node.outputs[0], attrs)


@imports("HardSigmoid", becomes=("HardSigmoid",), covers="alpha, beta")
def hard_sigmoid(node: OnnxNode, scope: Scope) -> None:
    """HardSigmoid."""
    attrs = {"alpha": node.number("alpha", 0.2), "beta": node.number("beta", 0.5)}
    scope.emit("HardSigmoid", node.name, (scope.activation(node, 0).name,), node.outputs[0], attrs)


import_as_is("HardSwish")

register_elementwise(
    "LeakyRelu",
    _KERNEL,
    "leaky_relu_f32",
    "leaky_relu_gradient_f32",
    constants=("alpha",),
    reads_output=lambda node: node.attrs["alpha"] >= 0,
)
register_elementwise(
    "ThresholdedRelu",
    _KERNEL,
    "thresholded_relu_f32",
    "thresholded_relu_gradient_f32",
    constants=("alpha",),
    reads_output=lambda node: node.attrs["alpha"] >= 0,
)
register_elementwise(
    "HardSigmoid",
    _KERNEL,
    "hard_sigmoid_f32",
    "hard_sigmoid_gradient_f32",
    constants=("alpha", "beta"),
    gradient_constants=("alpha",),
    reads_output=True,
)
register_elementwise("HardSwish", _KERNEL, "hard_swish_f32", "hard_swish_gradient_f32")
