#!/usr/bin/env bash
# Resize of opset 10 in mode nearest: onnxruntime rounds a coordinate down where it enlarges, and up where it
# shrinks. Of 5 elements by 0.4 it takes elements 0 and 3 (2.5 rounded up). Converted to opset 13 by onnx's
# version converter, the same node takes 1 and 3; onnx's reference evaluator runs no Resize of opset 10 at all
# (a ValueError). Seen with onnx 1.23.2 and onnxruntime 1.32.0.
#
# Guessed: floor in both directions, as the text of opset 10 lets one think. Wrong for shrinking.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0
env/bin/python -W ignore - <<'END'
import sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

def model(scale, size):
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "k"], ["y"], mode="nearest")], "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, size])],
        [numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), "k")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)

x = {"x": np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)}
run = lambda m: onnxruntime.InferenceSession(m.SerializeToString()).run(None, x)[0].ravel().tolist()
small, large = run(model(0.4, 2)), run(model(1.5, 7))
new = run(version_converter.convert_version(model(0.4, 2), 13))
try:
    ReferenceEvaluator(model(0.4, 2)).run(None, x)
    refused = "runs"
except ValueError as error:
    refused = f"ValueError: {error}"
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("5 elements by 0.4:              ", small)
print("5 elements by 1.5:              ", large)
print("by 0.4, converted to opset 13:  ", new)
print("onnx's reference evaluator:     ", refused)
sys.exit(not (small == [0, 3] and large == [0, 0, 1, 2, 2, 3, 4] and new == [1, 3]
              and refused.startswith("Value")))
END
