"""Files that the quantisers of others made; tests/data/README.md says with which settings."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.frontend.interpreter import evaluate
from tests.frontend.models import ROOT, run_onnx
from tests.frontend.test_integer_inputs import drawn
from tests.frontend.test_quantized import compare
from tinyodl.frontend import import_model

FOLDER = ROOT / "tests" / "data" / "quantised"
FILES = sorted(FOLDER.glob("*.onnx"))
INTEGERS = {"tflite_int8_io": "int8", "tflite_uint8_io": "uint8", "tflite_ae_int8_io": "int8"}
# What stays float32 in each: the last layer where its output is not quantised, an NHWC input.
FLOAT = {
    "brevitas_w4": {"Gemm"},
    "brevitas_w8_channel": {"Gemm"},
    "nncf_relu": {"Gemm"},
    "nncf_relu6": {"Gemm"},
    "tflite_int8_io": {"Transpose", "Softmax"},
    "tflite_uint8_io": {"Transpose", "Softmax"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_int8_layers_are_found_and_right(path):
    """Each layer makes what onnxruntime without optimisations does, up to one step at ties."""
    graph = import_model(path)
    made = {n.op for n in graph.nodes if not n.op.startswith(("QLinear", "Reshape"))}
    assert made - {"QuantizeLinear", "DequantizeLinear"} == FLOAT.get(path.stem, set())
    if path.stem not in INTEGERS:
        found = compare(graph, path, seeds=5)
        assert found.most <= 1 and found.different <= 1 + 3e-3 * found.elements, found
        return
    kind = INTEGERS[path.stem]
    [output] = [n for n in onnx.load(path).graph.node if n.output[0] == graph.outputs[0]]
    held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    scale, zero_point = (held[name] for name in output.input[1:3])
    off = []
    for seed in range(5):
        q, real = drawn(graph, kind, seed)
        expected = run_onnx(path, q).astype(np.float32) - zero_point.astype(np.float32)
        off.append(np.abs(evaluate(graph, real) / scale - expected))
    assert np.max(off) < 1.01 and np.count_nonzero(np.array(off) > 0.01) <= 1


def test_nncf_keeps_the_first_weights_small():
    """Within 64 steps, so that sums of pairs fit 16 bits where a processor adds them there."""
    graph = import_model(FOLDER / "nncf_relu.onnx")
    first, *others = (graph.tensor(n.inputs[1]).data for n in graph.nodes if n.op == "QLinearConv")
    assert np.abs(first.astype(int)).max() <= 64 < np.abs(others[0].astype(int)).max()
