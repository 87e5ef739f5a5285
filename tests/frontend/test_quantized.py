"""Quantised models: int8 layers are found, and make of integers what onnxruntime makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from tests.frontend.interpreter import values_of
from tests.frontend.models import SHARED
from tests.frontend.quantized_models import MADE
from tests.hostnet import HostNet
from tests.models import shared_only
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph
from tinyodl.update_plan import UpdatePlan

QUANTIZED = sorted(SHARED.glob("*_int8.onnx"))
FLOAT = {"Conv", "Gemm", "Clip", "Relu", "Add", "AveragePool", "ReduceMean", "MaxPool"}


@dataclass
class Agreement:
    """How the int8 tensors of a graph compare with onnxruntime's, each made from the same."""

    elements: int = 0
    different: int = 0
    most: int = 0


def sample_of(graph: Graph, seed: int) -> Array:
    """Real numbers that reach all integers of the input."""
    entry = graph.tensor(graph.inputs[0])
    q = np.random.default_rng(seed).uniform(-128, 127, entry.shape)
    of = entry.quantization
    return ((q - of.zero_point) * of.scale[0]).astype(np.float32)


def compare(graph: Graph, path: Path, seeds: int = 3) -> Agreement:
    """Each int8 layer on onnxruntime's own inputs, against onnxruntime's output."""
    found = Agreement()
    for seed in range(seeds):
        x = sample_of(graph, seed)
        expected = integers_of_onnx(path, x)

        def replaced(name: str, value: Array, expected: dict[str, Array] = expected) -> Array:
            of = name.removesuffix(".map")  # a row of ONNX is a map of one pixel here
            if of not in expected:
                return value
            assert graph.tensor(name).dtype == "int8"
            made = expected[of].reshape(value.shape).astype(np.int64)
            off = np.abs(value - made)
            found.elements += off.size
            found.different += int(np.count_nonzero(off))
            found.most = max(found.most, int(off.max()))
            return made

        values_of(graph, x, instead=replaced)
    return found


def integers_of_onnx(path: Path, x: Array) -> dict[str, Array]:
    """All values of 8 bits that onnxruntime makes without optimisations, as int8."""
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output if name}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = (TensorProto.INT8, TensorProto.UINT8)
    found = [v for v in inferred if v.type.tensor_type.elem_type in kinds and v.name in made]
    del model.graph.output[:]
    model.graph.output.extend(found)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(None, {session.get_inputs()[0].name: x})
    return {
        v.name: (value.astype(np.int64) - 128 if value.dtype == np.uint8 else value)
        for v, value in zip(found, values, strict=True)
    }


def assert_generated_c_is_the_same(graph: Graph, folder: Path) -> None:
    """What the int8 kernels make is the interpreter's to the bit, so the float output is too."""
    net = HostNet(graph, UpdatePlan(loss="mse"), folder / "net")
    for seed in range(2):
        x = sample_of(graph, seed)
        expected = values_of(graph, x)[graph.outputs[0]]
        np.testing.assert_array_equal(net.forward(x), expected.astype(np.float32))


@shared_only
@pytest.mark.parametrize("path", QUANTIZED, ids=lambda path: path.stem)
def test_real_models(path: Path, tmp_path, record_property):
    graph = import_model(path)
    assert not FLOAT & {n.op for n in graph.nodes}
    found = compare(graph, path)
    record_property("agreement", str(found))
    print(path.stem, found)
    assert found.most <= 1 and found.different <= 1 + 1e-4 * found.elements
    if "mcunet" not in path.stem:  # as many kinds of layers as mbv2, and as long to compile
        assert_generated_c_is_the_same(graph, tmp_path)


@pytest.mark.parametrize("kind", MADE)
def test_every_exporters_form(kind, tmp_path):
    path = MADE[kind](tmp_path)
    graph = import_model(path)
    assert not FLOAT & {n.op for n in graph.nodes}
    assert {n.op for n in graph.nodes if n.op not in ("Reshape", "DequantizeLinear")} >= {
        "QLinearConv"
    }
    found = compare(graph, path)
    assert found.most <= 1 and found.different <= 1 + 3e-3 * found.elements, found  # ties, in steps
    assert_generated_c_is_the_same(graph, tmp_path)
