"""The integers of an int8 layer: weights around zero, and a bias in steps of s_x * s_w.

Sums of products and bias are int32, so the bias has to leave room for whatever the products may
come to. In a dead channel it may not: its weights have next to no scale, and neither have the steps
of the bias. There the steps are made coarser, which costs next to nothing in the output. Where all
weights are zero, they may have any scale: if its steps are too coarse for the bias, they are made
finer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tinyodl.graph import Array, Quantization, Tensor
from tinyodl.ops.shared.quantization import multipliers

_LARGEST = (1 << 31) - 1
_NOTHING = 1 / 16  # of a step of the output
_ROUNDING = 2.0**-22  # of a float32 number made of steps, as a part of it
_FINE = 1 / 256  # of a step of the output


@dataclass(frozen=True)
class Integers:
    """The constants of a layer with M output channels."""

    weight: Array  # int8, in the shape of the real one
    of_weight: Quantization
    bias: Array | None  # int32 (M)
    of_bias: Quantization
    multiplier: Array  # float32 (M)


def layer_integers(
    w: Tensor, b: Tensor | None, x: Quantization, y: Quantization
) -> Integers | None:
    """The integers of a real weight, which is quantised, and a real bias; None if they do not fit.

    x and y are the quantisations of the layer's input and output; x has one scale unless each
    output channel is made of one input channel.
    """
    assert w.data is not None and w.quantization is not None
    channels = w.shape[0]
    scale = w.quantization.scales(channels)
    sums = (128 + abs(x.zero_point)) * 128 * prod(w.shape[1:])  # at most
    room = _LARGEST - sums
    if room < 0 or not _finite(x, w.quantization, y, channels):
        return None
    real = np.zeros(channels) if b is None or b.data is None else b.data.astype(np.float64)
    s_x, s_y = (of.scales(channels).astype(np.float64) for of in (x, y))
    finer = _finer(w.data, real, s_x * scale, s_y)
    scale = scale * finer
    excess = np.abs(real) / (s_x * scale * room)
    over = excess > 1
    costs = sums * multipliers(x, w.quantization, y, channels) * w.data.reshape(channels, -1).any(1)
    if np.any(costs[over] > _NOTHING):
        return None
    coarser = np.where(over, np.exp2(np.ceil(np.log2(np.maximum(excess, 1)))), 1)
    scale = (scale * coarser).astype(np.float32)
    changed = over.any() or np.any(finer != 1)
    of_weight = _quantization(scale) if changed else w.quantization
    steps = s_x * scale.astype(np.float64)
    if np.any(_lost(real, steps) > _NOTHING * s_y):
        return None  # a float32 bias between two steps that are large in the output
    each = scale.reshape(-1, *(1,) * (w.data.ndim - 1))
    return Integers(
        np.rint(w.data / each).astype(np.int8),
        of_weight,
        None if b is None else np.rint(real / steps).astype(np.int32),
        _quantization(steps),
        multipliers(x, of_weight, y, channels),
    )


def _finer(w: Array, real: Array, steps: Array, y_step: Array) -> Array:
    """For each channel, the factor of its scale at which it can hold the bias: 1 for most."""
    dead = ~w.reshape(len(w), -1).any(axis=1)
    lost = dead & (_lost(real, steps) > _NOTHING * y_step)
    return np.where(lost, np.exp2(np.floor(np.log2(_FINE * y_step / steps))), 1.0)


def _lost(real: Array, steps: Array) -> Array:
    """How far a bias in whole steps is from the real one, beyond float32 rounding of that."""
    off: Array = np.abs(np.rint(real / steps) * steps - real) - np.abs(real) * _ROUNDING
    return off


def _finite(x: Quantization, w: Quantization, y: Quantization, channels: int) -> bool:
    """Whether the factors from sums to steps of the output are finite float32 numbers."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(multipliers(x, w, y, channels)).all())


def _quantization(scale: Array) -> Quantization:
    return Quantization(tuple(float(each) for each in scale.astype(np.float32)))
