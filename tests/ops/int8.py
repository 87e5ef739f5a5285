"""Graphs around one int8 operator, and PyTorch's fake_quantize with the straight-through estimator.

Scales are powers of two: then whatever the kernels compute in float32 is exact, ties included, and
the output must equal PyTorch's in float64 to the last bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as functional
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.hostnet import HostNet
from tests.ops.graphs import PLAN, around
from tinyodl.graph import Graph, Node, Quantization, Storage, Tensor
from tinyodl.learning.tensors import state_name
from tinyodl.ops.shared import output_shape
from tinyodl.ops.shared.quantization import LOWEST, Bounds, bounds
from tinyodl.project.layer_update import Updates
from tinyodl.project.plan import UpdatePlan

_numbers = itertools.count()
zero_points = st.integers(-128, 127)
quantizations = st.builds(
    lambda e, zero: Quantization((2.0**e,), zero), st.integers(-4, 1), zero_points
)
any_quantizations = st.builds(
    lambda scale, zero: Quantization((float(np.float32(scale)),), zero),
    st.floats(0.01, 2.0),
    zero_points,
)
# Of real values: none, Relu, Relu6, hardtanh.
ranges = st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)])


def cut_off(of: Bounds) -> dict[str, object]:
    """The bounds as attributes."""
    return {k: getattr(of, k) for k in ("low", "high", "pass_low", "pass_high")}


def integers(seed: int, *shape: int, low: int = LOWEST, high: int = 127) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.int8)


def reals(seed: int, of: Quantization, *shape: int) -> np.ndarray:
    """Values around the range of an int8 tensor: many between two steps, some past its ends."""
    steps = np.random.default_rng(seed).integers(2 * LOWEST - 60, 2 * 128 + 60, shape) / 2
    return ((steps - of.zero_point) * of.scale[0]).astype(np.float32)


def fake(x: torch.Tensor, of: Quantization) -> torch.Tensor:
    return torch.fake_quantize_per_tensor_affine(x, of.scale[0], of.zero_point, -128, 127)


def between(x: torch.Tensor, limits: tuple[float, float]) -> torch.Tensor:
    """The activation that clamps to `limits`, as PyTorch computes and differentiates it."""
    low, high = limits
    if np.isfinite(high):
        return functional.hardtanh(x, low, high)
    return torch.relu(x) if np.isfinite(low) else x


def alone(
    op: str,
    inputs: Mapping[str, tuple[tuple[int, ...], Quantization | None]],
    attrs: Mapping[str, object],
    y: Quantization | None,
    constants: Collection[Tensor] = (),
) -> tuple[Node, Graph]:
    """One operator on tensors in the arena, then `constants`; float32 without a quantisation."""
    tensors = {name: _tensor(name, shape, of) for name, (shape, of) in inputs.items()}
    tensors |= {tensor.name: tensor for tensor in constants}
    node = Node(op, "op", tuple(tensors), ("y",), attrs)
    graph = Graph((node,), tensors, tuple(inputs), ("y",))
    return node, graph.with_tensors([_tensor("y", output_shape(node, graph), y)])


def in_flash(name: str, value: np.ndarray, of: Quantization | None = None) -> Tensor:
    return Tensor(name, value.shape, Storage.FLASH, str(value.dtype), value, quantization=of)


def _tensor(name: str, shape: tuple[int, ...], of: Quantization | None) -> Tensor:
    return Tensor(name, shape, dtype="int8" if of else "float32", quantization=of)


def compare(
    folder: Path,
    op: str,
    inputs: Mapping[str, tuple[np.ndarray, Quantization | None]],
    reference: Callable[..., torch.Tensor],
    y: Quantization,
    attrs: Mapping[str, object],
    limits: tuple[float, float] = (-np.inf, np.inf),
    *,
    reads: tuple[str, ...] = (),
    constants: Collection[Tensor] = (),
) -> None:
    """One step of the generated C against fake_quantize(activation(reference(inputs))) in float64.

    Each input is given as the real values before it is quantised, if it is, which is where its
    gradient is read off. The operator reads "x.q" for "x", and then `constants`, or what `reads`
    says. The output must be equal, gradients within float32 rounding.
    """
    graph, plan = _around(op, inputs, reads, constants, y, attrs)
    net = HostNet(graph, plan, folder / f"net{next(_numbers)}")
    leaves = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, (value, _) in inputs.items()
    }
    quantized = [fake(leaf, of) if (of := inputs[n][1]) else leaf for n, leaf in leaves.items()]
    expected = fake(between(reference(*quantized), limits), y)
    one = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(net.forward(one), expected.detach().numpy())
    target = np.random.default_rng(1).normal(size=tuple(expected.shape)).astype(np.float32)
    loss = functional.mse_loss(expected, torch.tensor(target, dtype=torch.float64))
    np.testing.assert_allclose(net.train(one, target=target), loss.item(), rtol=1e-5)
    loss.backward()
    for name, leaf in leaves.items():
        found = net.parameter(state_name(f"{name}.b", "sum")).reshape(leaf.shape)
        wanted = leaf.grad.numpy()
        smallest = max(2e-6 * np.abs(wanted).max(), 1e-37)  # the latter: of normal float32 numbers
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=smallest, err_msg=name)


def _around(
    op: str,
    inputs: Mapping[str, tuple[np.ndarray, Quantization | None]],
    reads: tuple[str, ...],
    constants: Collection[Tensor],
    y: Quantization,
    attrs: Mapping[str, object],
) -> tuple[Graph, UpdatePlan]:
    """Learned float32 values -> QuantizeLinear -> the operator -> DequantizeLinear."""
    nodes: list[Node] = []
    slots: list[str] = []
    tensors: dict[str, Tensor] = {t.name: t for t in constants}
    layers: dict[str, Updates] = {}
    for name, (value, of) in inputs.items():
        graph, plan = around("Reshape", {name: value}, {"shape": value.shape})
        nodes += graph.nodes[:-1]
        tensors |= {n: t for n, t in graph.tensors.items() if n != "y"}
        layers |= plan.layers
        slots.append(name)
        if of:
            slots[-1] = q = f"{name}.q"
            tensors[q] = _tensor(q, value.shape, of)
            nodes.append(Node("QuantizeLinear", q, (name,), (q,), cut_off(bounds(of))))
    slots = [*slots, *(t.name for t in constants)]
    node = Node(op, "op", reads or tuple(slots), ("y",), attrs)
    shape = output_shape(node, Graph((), tensors, (), ()))
    tensors |= {"y": _tensor("y", shape, y), "z": Tensor("z", shape)}
    nodes += [node, Node("DequantizeLinear", "out", ("y",), ("z",))]
    graph = Graph(tuple(nodes), tensors, ("one",), ("z",))
    return graph, UpdatePlan(layers=layers, **PLAN)


def onnxruntime_output(
    op: str,
    inputs: Mapping[str, tuple[np.ndarray, Quantization]],
    y: Quantization,
    **attrs: object,
) -> np.ndarray:
    """What onnxruntime makes of DequantizeLinear -> the operator -> QuantizeLinear, unfused."""
    nodes, constants = [], []

    def parameters(name: str, of: Quantization) -> list[str]:
        scale = helper.make_tensor(f"{name}.s", TensorProto.FLOAT, (), [of.scale[0]])
        zero = helper.make_tensor(f"{name}.z", TensorProto.INT8, (), [of.zero_point])
        constants.extend([scale, zero])
        return [scale.name, zero.name]

    for name, (_, of) in inputs.items():
        slots = [name, *parameters(name, of)]
        nodes.append(helper.make_node("DequantizeLinear", slots, [f"{name}.real"]))
    nodes.append(helper.make_node(op, [f"{name}.real" for name in inputs], ["y.real"], **attrs))
    nodes.append(helper.make_node("QuantizeLinear", ["y.real", *parameters("y", y)], ["y"]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT8, value.shape)
        for name, (value, _) in inputs.items()
    ]
    rank = len(values[0].type.tensor_type.shape.dim)
    out = helper.make_tensor_value_info("y", TensorProto.INT8, [None] * rank)
    graph = helper.make_graph(nodes, "int8", values, [out], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(made)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {name: value for name, (value, _) in inputs.items()})[0]
