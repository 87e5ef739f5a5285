"""Functions of one int8 value as tables: elementwise operators and their derivatives.

Each operator is evaluated for the 256 values, together with its derivative (forward-mode
differentiation), in float64 and then rounded to float32. At corners the derivative is PyTorch's, as
in the operators' own gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinyodl.graph import Array, Graph, Quantization
from tinyodl.ops.shared.quantization import bounds


@dataclass(frozen=True)
class Table:
    """For each q from -128: the output, int8, and the slope of the real function, float32.

    The slope is 0 where the output is saturated.
    """

    values: Array
    slopes: Array


@dataclass(frozen=True)
class Curve:
    """A function at the 256 values, and its derivative there."""

    value: Array
    slope: Array


def table_of(graph: Graph, name: str, y: Quantization) -> tuple[str, Table] | None:
    """How a float tensor, quantised as `y`, follows from one int8 tensor, element by element.

    Returns that tensor's name and the table; None where it does not, or is not finite everywhere.
    """
    source = _Source(graph)
    found = source.follow(name)
    if found is None or source.integers is None:
        return None
    table = quantized_table(found, y)
    return (source.integers, table) if table else None


def starting(x: Quantization) -> Curve:
    """The real numbers that the integers from -128 to 127 stand for; x has one scale."""
    steps = np.arange(-128, 128, dtype=np.float32) - np.float32(x.zero_point)
    return Curve((steps * np.float32(x.scale[0])).astype(np.float64), np.ones(256))


def clamped(x: Curve, minimum: float, maximum: float) -> Curve:
    """Cut off at both ends."""
    passes = (minimum < x.value) & (x.value < maximum)
    return Curve(np.clip(x.value, minimum, maximum), x.slope * passes)


def quantized_table(made: Curve, y: Quantization) -> Table | None:
    """The table of a function whose output is quantised; None where it is not one finite one."""
    if len(y.scale) > 1 or not (np.isfinite(made.value).all() and np.isfinite(made.slope).all()):
        return None
    v = made.value.astype(np.float32) / np.float32(y.scale[0])
    ends = bounds(y)
    passes = (ends.pass_low < v) & (v < ends.pass_high)
    return Table(y.quantize(made.value), (made.slope * passes).astype(np.float32))


class _Source:
    """The way back from a float tensor to the one int8 tensor that it follows from."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.integers: str | None = None
        self.found: dict[str, Curve | None] = {}

    def follow(self, name: str) -> Curve | None:
        """A tensor's value for each int8 value; None if it is no function of one int8 value."""
        if name not in self.found:
            self.found[name] = self._follow(name)
        return self.found[name]

    def _follow(self, name: str) -> Curve | None:
        tensor = self.graph.tensor(name)
        if tensor.data is not None:
            one = tensor.size == 1
            return Curve(tensor.data.reshape(1).astype(np.float64), np.zeros(1)) if one else None
        node = self.graph.producer.get(name)
        if node is None:
            return None
        if node.op == "DequantizeLinear":
            return self._start(node.inputs[0])
        if node.op == "Reshape":
            return self.follow(node.inputs[0])
        if node.op not in _OF_ONE and node.op not in _OF_TWO:
            return None
        given = [self.follow(operand) for operand in node.inputs]
        operands = [operand for operand in given if operand is not None]
        if len(operands) < len(given) or tensor.size != self._size():
            return None
        with np.errstate(all="ignore"):
            made = (
                _composed(*_OF_ONE[node.op](node.attrs, operands[0].value), operands[0])
                if node.op in _OF_ONE
                else _OF_TWO[node.op](*operands)
            )
        return Curve(made.value.astype(np.float32).astype(np.float64), made.slope)

    def _start(self, integers: str) -> Curve | None:
        quantization = self.graph.tensor(integers).quantization
        if quantization is None or len(quantization.scale) > 1:
            return None
        if self.integers not in (None, integers):
            return None
        self.integers = integers
        return starting(quantization)

    def _size(self) -> int:
        return self.graph.tensor(self.integers).size if self.integers else 0


def _composed(value: Array, slope: Array, x: Curve) -> Curve:
    return Curve(value, slope * x.slope)


_Attributes = Mapping[str, float]
_Function = Callable[[_Attributes, Array], tuple[Array, Array]]  # -> value, slope


def _sigmoid(x: Array) -> Array:
    made: Array = 1 / (1 + np.exp(-x))
    return made


def _erf(x: Array) -> Array:
    made: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return made


def _clip(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    low, high = attrs["min"], attrs["max"]
    return np.minimum(np.maximum(x, low), high), (low < x) & (x < high)


def _leaky_relu(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    slope = np.where(x > 0, 1.0, attrs["alpha"])
    return x * slope, slope


def _thresholded_relu(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    passes = (x > attrs["alpha"]).astype(np.float64)
    return x * passes, passes


def _hard_sigmoid(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    line = attrs["alpha"] * x + attrs["beta"]
    return np.clip(line, 0, 1), attrs["alpha"] * ((line > 0) & (line < 1))


def _hard_swish(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    slope = np.where(x <= -3, 0.0, np.where(x < 3, x / 3 + 0.5, 1.0))
    return x * np.clip(x / 6 + 0.5, 0, 1), slope


def _of_sigmoid(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    y = _sigmoid(x)
    return y, y * (1 - y)


def _tanh(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    y = np.tanh(x)
    return y, 1 - y * y


def _elu(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    gain, alpha, rate = attrs["gain"], attrs["alpha"], attrs["rate"]
    bent = alpha * np.expm1(rate * np.minimum(x, 0))
    return np.where(x > 0, gain * x, bent), np.where(x > 0, gain, rate * (bent + alpha))


def _softplus(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    return np.logaddexp(0, x), _sigmoid(x)


def _softsign(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    below = 1 + np.abs(x)
    return x / below, 1 / (below * below)


def _swish(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    gate = _sigmoid(attrs["alpha"] * x)
    return x * gate, gate + x * attrs["alpha"] * gate * (1 - gate)


def _mish(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    gate = np.tanh(np.logaddexp(0, x))
    return x * gate, gate + x * (1 - gate * gate) * _sigmoid(x)


def _gelu(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    gate = (1 + _erf(x / math.sqrt(2))) / 2
    return x * gate, gate + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    factor = math.sqrt(2 / math.pi)
    inner = np.tanh(factor * (x + 0.044715 * x**3))
    slope = factor * (1 + 3 * 0.044715 * x * x) * (1 - inner * inner)
    return x * (1 + inner) / 2, (1 + inner + x * slope) / 2


def _power(attrs: _Attributes, x: Array) -> tuple[Array, Array]:
    exponent = attrs["exponent"]
    return x**exponent, exponent * x ** (exponent - 1)


_OF_ONE: dict[str, _Function] = {
    "Relu": lambda attrs, x: (np.maximum(x, 0), x > 0),
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "ThresholdedRelu": _thresholded_relu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Sigmoid": _of_sigmoid,
    "Tanh": _tanh,
    "Elu": _elu,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Swish": _swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "GeluTanh": _gelu_tanh,
    "Power": _power,
    "Abs": lambda attrs, x: (np.abs(x), np.sign(x)),
    "Neg": lambda attrs, x: (-x, -np.ones_like(x)),
    "Exp": lambda attrs, x: (np.exp(x), np.exp(x)),
    "Log": lambda attrs, x: (np.log(x), 1 / x),
    "Sqrt": lambda attrs, x: (np.sqrt(x), 0.5 / np.sqrt(x)),
    "Reciprocal": lambda attrs, x: (1 / x, -1 / (x * x)),
    "Erf": lambda attrs, x: (_erf(x), 2 / math.sqrt(math.pi) * np.exp(-x * x)),
}
_OF_TWO: dict[str, Callable[[Curve, Curve], Curve]] = {
    "Add": lambda a, b: Curve(a.value + b.value, a.slope + b.slope),
    "Sub": lambda a, b: Curve(a.value - b.value, a.slope - b.slope),
    "Mul": lambda a, b: Curve(a.value * b.value, a.slope * b.value + a.value * b.slope),
    "Div": lambda a, b: Curve(
        a.value / b.value, (a.slope * b.value - a.value * b.slope) / (b.value * b.value)
    ),
}
