"""Operators that onnxruntime's optimiser writes: several of ONNX's own in one node.

    FusedConv, FusedGemm        a layer, an operand that is added, and an activation
    FusedMatMul                 alpha * A B, each transposed or not
    BiasGelu, FastGelu          Gelu of a sum; FastGelu is the one with tanh
    QuickGelu                   x * sigmoid(alpha * x)
    SkipLayerNormalization      LayerNormalization of a sum

They are taken apart again, so a file that was optimised learns as the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from tinyodl.ops.conv import conv
from tinyodl.ops.gemm import gemm
from tinyodl.ops.normalization import layer_normalization
from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports

_DOMAIN = ("com.microsoft",)
_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
}
_AFTER = "Relu, Tanh, Sigmoid, LeakyRelu, Clip and HardSigmoid behind it"


@imports(
    "FusedConv",
    becomes=("Conv", "Add", "Relu"),
    covers=f"as Conv, with an operand that is added, and {_AFTER}",
    limits="what Conv refuses",
    domains=_DOMAIN,
)
def fused_conv(node: OnnxNode, scope: Scope) -> None:
    """FusedConv: Conv, then Add of input 3, then an activation."""
    kind, attrs = _activation(node, node.attrs.get("activation_params", ()))
    added = bool(node.input(3))
    output = scope.fresh(f"{node.outputs[0]}.conv") if kind or added else node.outputs[0]
    own = {n: v for n, v in node.attrs.items() if not n.startswith("activation")}
    conv(replace(node, op="Conv", inputs=node.inputs[:3], outputs=(output,), attrs=own), scope)
    if added:
        z = scope.activation(node, 3).name
        to = scope.fresh(f"{node.outputs[0]}.sum") if kind else node.outputs[0]
        output = scope.emit("Add", scope.fresh_node(f"{node.name}.add"), (output, z), to)
    _activate(node, scope, output, kind, attrs)


@imports(
    "FusedGemm",
    becomes=("Gemm", "Relu"),
    covers=f"as Gemm, with {_AFTER}",
    limits="what Gemm refuses",
    domains=_DOMAIN,
)
def fused_gemm(node: OnnxNode, scope: Scope) -> None:
    """FusedGemm: Gemm, then an activation."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    kind, attrs = _activation(node, [node.attrs[name] for name in names if name in node.attrs])
    own = {n: v for n, v in node.attrs.items() if not n.startswith("activation")}
    output = scope.fresh(f"{node.outputs[0]}.gemm") if kind else node.outputs[0]
    gemm(replace(node, op="Gemm", outputs=(output,), attrs=own), scope)
    _activate(node, scope, output, kind, attrs)


def _activation(node: OnnxNode, given: Sequence[Any]) -> tuple[str, dict[str, float]]:
    """The activation and its attributes; "" where there is none."""
    kind = str(node.attrs.get("activation", ""))
    if not kind:
        return "", {}
    if kind not in _ACTIVATIONS or len(given) != len(_ACTIVATIONS[kind]):
        raise Unsupported(f"its activation is {kind} of {list(given)}", ", ".join(_ACTIVATIONS))
    return kind, dict(zip(_ACTIVATIONS[kind], map(float, given), strict=True))


def _activate(node: OnnxNode, scope: Scope, x: str, kind: str, attrs: Mapping[str, float]) -> None:
    if kind:
        scope.emit(kind, scope.fresh_node(f"{node.name}.{kind}"), (x,), node.outputs[0], attrs)


@imports(
    "FusedMatMul",
    becomes=("Gemm", "MatMul", "Reshape"),
    covers="alpha, transA, transB, on matrices and batches",
    limits="transposed batches, vectors",
    domains=_DOMAIN,
)
def fused_matmul(node: OnnxNode, scope: Scope) -> None:
    """FusedMatMul: a layer on each row where B is a constant matrix and A is as it is."""
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        raise Unsupported("its batches are transposed", "transA and transB")
    alpha, trans_a = node.number("alpha", 1.0), bool(node.integer("transA", 0))
    held = scope.constants.get(node.input(1))
    if held is not None and held.ndim == 2 and not trans_a:
        x = scope.activation(node, 0)
        rows = scope.view(node, x.name, (prod(x.shape[:-1]), x.shape[-1]))
        made = scope.fresh(f"{node.outputs[0]}.rows")
        attrs = {"alpha": alpha, "transB": node.integer("transB", 0)}
        layer = replace(node, op="Gemm", inputs=(rows, node.inputs[1]), outputs=(made,))
        gemm(replace(layer, attrs=attrs), scope)
        scope.view(node, made, (*x.shape[:-1], scope.tensors[made].shape[-1]), node.outputs[0])
        return
    a, b = scope.operand(node, 0), scope.operand(node, 1)
    if min(len(a.shape), len(b.shape)) < 2:
        raise Unsupported(f"it multiplies the shapes {a.shape} and {b.shape}", "matrices")
    attrs = {"alpha": alpha, "trans_a": trans_a, "trans_b": bool(node.integer("transB", 0))}
    scope.emit("MatMul", node.name, (a.name, b.name), node.outputs[0], attrs)


@imports("BiasGelu", becomes=("Add", "Gelu"), covers="everything", domains=_DOMAIN)
@imports("FastGelu", becomes=("Add", "GeluTanh"), covers="everything", domains=_DOMAIN)
def gelu_of_sum(node: OnnxNode, scope: Scope) -> None:
    """BiasGelu and FastGelu: a bias is added first, where there is one."""
    x = scope.activation(node, 0).name
    if node.input(1):
        bias = scope.operand(node, 1).name
        name = scope.fresh_node(f"{node.name}.add")
        x = scope.emit("Add", name, (x, bias), scope.fresh(f"{node.outputs[0]}.sum"))
    op = "Gelu" if node.op == "BiasGelu" else "GeluTanh"
    scope.emit(op, node.name, (x,), node.outputs[0])


@imports("QuickGelu", becomes=("Swish",), covers="alpha", domains=_DOMAIN)
def quick_gelu(node: OnnxNode, scope: Scope) -> None:
    """QuickGelu."""
    attrs = {"alpha": node.number("alpha", 1.702)}
    scope.emit("Swish", node.name, (scope.activation(node, 0).name,), node.outputs[0], attrs)


@imports(
    "SkipLayerNormalization",
    becomes=("Add", "Normalization"),
    covers="epsilon, a bias, the sum as an output",
    limits="a scale or shift that is computed; the mean and the inverse deviation",
    domains=_DOMAIN,
)
def skip_layer_normalization(node: OnnxNode, scope: Scope) -> None:
    """SkipLayerNormalization: LayerNormalization of input + skip + bias."""
    if any(name in scope.read for name in node.outputs[1:3] if name):
        raise Unsupported("its mean or inverse deviation is used", "its outputs 0 and 3")
    total = scope.activation(node, 0).name
    for slot in (1, 4):
        if node.input(slot):
            last = slot == 4 or not node.input(4)
            kept = node.outputs[3] if last and len(node.outputs) > 3 else ""
            name = scope.fresh_node(f"{node.name}.add")
            operands = (total, scope.operand(node, slot).name)
            total = scope.emit("Add", name, operands, kept or scope.fresh(f"{name}.sum"))
    attrs = {"axis": -1, "epsilon": node.number("epsilon", 1e-12)}
    inputs = (total, node.input(2), node.input(3))
    inner = replace(node, op="LayerNormalization", inputs=inputs, slots=(0, 2, 3), attrs=attrs)
    layer_normalization(replace(inner, outputs=node.outputs[:1]), scope)
