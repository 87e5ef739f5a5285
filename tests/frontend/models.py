"""ONNX models for the tests: the shipped and the shared ones, and small ones made on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontend.interpreter import evaluate
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "examples" / "watch" / "watch_cnn_c7.onnx"
SHARED = ROOT.parent / "shared" / "models"
RNG = np.random.default_rng(7)


def float_models() -> list:
    """The shipped model, and the float models of the shared folder where that exists."""
    found = [path for path in sorted(SHARED.glob("*.onnx")) if not path.stem.endswith("_int8")]
    if not found:
        skip = pytest.mark.skip(reason="the larger models (../shared/models) are not here")
        return [pytest.param(SHIPPED, id="shipped"), pytest.param(None, id="shared", marks=skip)]
    return [pytest.param(path, id=path.stem) for path in (SHIPPED, *found)]


def node(op: str, inputs: Sequence[str], output: str, name: str = "", **attrs) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=name, **attrs)


def weights(*shape: int) -> Array:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def norm(channels: int, prefix: str = "bn") -> dict[str, Array]:
    """The constants of a BatchNormalization: scale, bias, mean, variance."""
    return {
        f"{prefix}.scale": weights(channels) + 1,
        f"{prefix}.bias": weights(channels),
        f"{prefix}.mean": weights(channels),
        f"{prefix}.var": np.abs(weights(channels)) + 0.1,
    }


def norm_node(x: str, y: str, prefix: str = "bn", **attrs) -> onnx.NodeProto:
    given = [x, *(f"{prefix}.{part}" for part in ("scale", "bias", "mean", "var"))]
    return node("BatchNormalization", given, y, prefix, **attrs)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str | None],
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
    output: str = "y",
    rank: int | None = None,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model with the input x and one output, whose shape is inferred unless `rank` is given."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    wanted = helper.make_empty_tensor_value_info(output)
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", [given], [wanted], held)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if rank is None:
        inferred = onnx.shape_inference.infer_shapes(made).graph.output[0].type.tensor_type
        shapes = [d.dim_value or d.dim_param or None for d in inferred.shape.dim]
    else:
        shapes = [None] * rank
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes))
    return made


def saved(made: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def run_onnx(path: Path, x: Array) -> Array:
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def sample(graph: Graph, seed: int = 0) -> Array:
    shape = graph.shape(graph.inputs[0])
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def assert_close(got: Array, expected: Array) -> None:
    """Equal up to float32 rounding, measured against the largest value."""
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max()), 1e-3)
    assert np.abs(got - expected).max() <= 2e-5 * scale


def assert_same_network(path: Path, seeds: int = 2) -> Graph:
    """Import the file, and compare the Graph with onnxruntime on random inputs."""
    graph = import_model(path)
    for seed in range(seeds):
        x = sample(graph, seed)
        assert_close(evaluate(graph, x), run_onnx(path, x))
    return graph
