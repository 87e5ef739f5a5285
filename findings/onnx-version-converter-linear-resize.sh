#!/usr/bin/env bash
# onnx.version_converter turns a linear Resize of opset 10 into one of opset 11 that computes other numbers,
# without a warning: opset 10 means asymmetric coordinates, the converted node leaves
# coordinate_transformation_mode away, and that means half_pixel. Seen with onnx 1.23.2, run by onnxruntime
# 1.32.0.
#
# Guessed: the converter sets coordinate_transformation_mode, or refuses. Wrong.
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

graph = helper.make_graph(
    [helper.make_node("Resize", ["x", "k"], ["y"], mode="linear")], "resize",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 2])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 4])],
    [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "k")])
old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=4)
new = version_converter.convert_version(old, 11)
x = {"x": np.array([[[[0, 1]]]], np.float32)}
run = lambda m: onnxruntime.InferenceSession(m.SerializeToString()).run(None, x)[0].ravel().tolist()
before, after = run(old), run(new)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("[0, 1] doubled by Resize 10, linear:   ", before)
print("the same after convert_version(.., 11):", after)
sys.exit(not (np.allclose(before, [0, 0.5, 1, 1]) and np.allclose(after, [0, 0.25, 0.75, 1])))
END
