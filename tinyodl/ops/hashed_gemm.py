"""HashedGemm: a dense layer whose weights are a hash of their place, in neither flash nor RAM.

    y[j] = b[j] + sum over k of w[j, k] * x[k]     w = scale * u,  b = u,  u in [-1, 1)

u are the numbers of `hash_values`: a row of them, of even length, for the weights and the bias of
each output. `scale` is a power of two, so every weight is exactly a float32 number. Input: x
(1, K). Output: (1, N). It cannot learn. Matsutani and Marculescu: A tiny supervised ODL core with
auto data pruning for human activity recognition, BSN 2024; the hash is Wellons' lowbias32.
"""

from __future__ import annotations

from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, Ref, ShapeTuple, register


def hash_values(seed: int, count: int) -> NDArray[np.float32]:
    """The first `count` numbers u in [-1, 1) of a seed; multiples of 2^-15."""
    with np.errstate(over="ignore"):
        first = np.uint32(seed & 0xFFFFFFFF) * np.uint32(0x9E3779B9)
        x = np.arange((count + 1) // 2, dtype=np.uint32) + first
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
    halves = x.astype("<u4").view("<i2")[:count]
    return halves.astype(np.float32) * np.float32(2.0**-15)


def hash_scale(inputs: int) -> float:
    """The factor of the weights: the power of two at or below sqrt(3 / inputs).

    With u of variance 1 / 3, a sum over inputs of variance 1 then has a variance from 1 / 4 to 1.
    """
    return float(2.0 ** floor(log2(3 / inputs) / 2))


def hashed_weights(
    seed: int, outputs: int, inputs: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weight (outputs, inputs) and the bias (outputs) that the kernel computes with."""
    length = 2 * (inputs // 2 + 1)
    u = hash_values(seed, outputs * length).reshape(outputs, length)
    return u[:, :inputs] * np.float32(hash_scale(inputs)), u[:, inputs].copy()


def _shape(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (*shapes[0][:-1], node.attrs["outputs"])


def _call(node: Node, graph: Graph) -> Call:
    (x,) = node.inputs
    inputs, outputs = graph.tensor(x).size, node.attrs["outputs"]
    operands = (node.attrs["seed"] & 0x7FFFFFFF, hash_scale(inputs), Ref(x), Ref(node.outputs[0]))
    return Call("hashed_gemm_f32", (outputs, inputs, *operands))


register(
    Operator(
        "HashedGemm",
        shape=_shape,
        macs=lambda n, g: g.tensor(n.inputs[0]).size * n.attrs["outputs"],
        call=_call,
        kernel="hashed_gemm_f32.h",
    )
)
