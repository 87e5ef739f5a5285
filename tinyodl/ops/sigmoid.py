"""Sigmoid, Tanh, Elu (also Selu and Celu), Softplus, Softsign, Swish and Mish.

    Sigmoid:   y = 1 / (1 + e^-x)                                      gx = gy * y * (1 - y)
    Tanh:      y = tanh x                                              gx = gy * (1 - y^2)
    Elu:       y = gain * x where x > 0, else alpha * (e^(rate*x) - 1)
    Softplus:  y = log(1 + e^x)                                        gx = gy * (1 - e^-y)
    Softsign:  y = x / (1 + |x|)                                       gx = gy * (1 - |y|)^2
    Swish:     y = x * sigmoid(alpha * x)
    Mish:      y = x * tanh(log(1 + e^x))

ONNX's Elu has gain = rate = 1, Selu the gain gamma and the alpha gamma * alpha, Celu the rate
1 / alpha. The gradients of Swish and Mish read x, the others y.
Attributes: gain, alpha, rate of Elu; alpha of Swish.
"""

from __future__ import annotations

import math

from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports
from tinyodl.ops.shared.elementwise import import_as_is, register_elementwise

_KERNEL = "sigmoid_f32.h"

import_as_is("Sigmoid", "Tanh", "Softplus", "Softsign", "Mish")


@imports("Elu", becomes=("Elu",), covers="alpha", limits="a negative alpha")
def elu(node: OnnxNode, scope: Scope) -> None:
    """Elu."""
    _elu(node, scope, gain=1.0, alpha=node.number("alpha", 1.0), rate=1.0)


@imports("Selu", becomes=("Elu",), covers="alpha, gamma", limits="a negative alpha or gamma")
def selu(node: OnnxNode, scope: Scope) -> None:
    """Selu: a scaled Elu."""
    alpha, gamma = node.number("alpha", 1.67326319), node.number("gamma", 1.05070102)
    _elu(node, scope, gain=gamma, alpha=gamma * alpha, rate=1.0)


@imports("Celu", becomes=("Elu",), covers="alpha", limits="an alpha that is not positive")
def celu(node: OnnxNode, scope: Scope) -> None:
    """Celu: an Elu whose slope is 1 on both sides of 0."""
    alpha = node.number("alpha", 1.0)
    if alpha == 0:
        raise Unsupported("alpha is 0", "a positive number")
    _elu(node, scope, gain=1.0, alpha=alpha, rate=1.0 / alpha)


@imports("Swish", becomes=("Swish",), covers="alpha")
def swish(node: OnnxNode, scope: Scope) -> None:
    """Swish."""
    attrs = {"alpha": node.number("alpha", 1.0)}
    scope.emit("Swish", node.name, (scope.activation(node, 0).name,), node.outputs[0], attrs)


def _elu(node: OnnxNode, scope: Scope, *, gain: float, alpha: float, rate: float) -> None:
    """The gradient is computed from y, which has to tell the sign of x."""
    if not (0 < gain < math.inf and 0 <= alpha < math.inf and 0 < rate < math.inf):
        given = ", ".join(f"{name} {value}" for name, value in node.attrs.items())
        raise Unsupported(f"it has {given}", "positive, finite numbers")
    attrs = {"gain": gain, "alpha": alpha, "rate": rate}
    scope.emit("Elu", node.name, (scope.activation(node, 0).name,), node.outputs[0], attrs)


register_elementwise(
    "Sigmoid", _KERNEL, "sigmoid_all_f32", "sigmoid_gradient_f32", reads_output=True
)
register_elementwise("Tanh", _KERNEL, "tanh_all_f32", "tanh_gradient_f32", reads_output=True)
register_elementwise(
    "Elu",
    _KERNEL,
    "elu_f32",
    "elu_gradient_f32",
    constants=("gain", "alpha", "rate"),
    reads_output=True,
)
register_elementwise(
    "Softplus", _KERNEL, "softplus_all_f32", "softplus_gradient_f32", reads_output=True
)
register_elementwise(
    "Softsign", _KERNEL, "softsign_f32", "softsign_gradient_f32", reads_output=True
)
register_elementwise("Swish", _KERNEL, "swish_f32", "swish_gradient_f32", constants=("alpha",))
register_elementwise("Mish", _KERNEL, "mish_f32", "mish_gradient_f32")
