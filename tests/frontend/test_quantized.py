"""Quantised models: int8 layers are found, and make what onnxruntime makes from the same integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from tests.frontend.interpreter import values_of
from tests.frontend.models import SHARED, sample
from tests.hostnet import HostNet
from tests.models import shared_only
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph
from tinyodl.update_plan import UpdatePlan

QUANTIZED = sorted(SHARED.glob("*_int8.onnx"))


@dataclass
class Agreement:
    """How the int8 tensors of a graph compare with onnxruntime's, each made from the same."""

    elements: int = 0
    different: int = 0
    most: int = 0


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


def compare(graph: Graph, path: Path, x: Array) -> Agreement:
    """Each int8 layer from onnxruntime's own inputs, against onnxruntime's output."""
    expected = integers_of_onnx(path, x)
    found = Agreement()

    def replaced(name: str, value: Array) -> Array:
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


@shared_only
@pytest.mark.parametrize("path", QUANTIZED, ids=lambda path: path.stem)
def test_real_models_layer_by_layer(path: Path, record_property):
    graph = import_model(path)
    assert not {"Conv", "Gemm", "Clip", "Relu", "Add"} & {n.op for n in graph.nodes}
    total = Agreement()
    for seed in range(3):
        found = compare(graph, path, sample_of(graph, seed))
        total.elements += found.elements
        total.different += found.different
        total.most = max(total.most, found.most)
    record_property("agreement", str(total))
    print(path.stem, total)
    assert total.most <= 1
    assert total.different <= 1 + 1e-4 * total.elements


def sample_of(graph: Graph, seed: int) -> Array:
    """Real numbers that reach all of the input's integers."""
    entry = graph.tensor(graph.inputs[0])
    q = np.random.default_rng(seed).uniform(-128, 127, entry.shape)
    of = entry.quantization
    return ((q - of.zero_point) * of.scale[0]).astype(np.float32)
