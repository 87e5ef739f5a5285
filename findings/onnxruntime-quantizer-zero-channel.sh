#!/usr/bin/env bash
# onnxruntime's static quantiser gives a channel whose weights are all zero (pruned, or a BatchNormalization
# with gamma 0 folded in) the weight scale 1.0, where its neighbours have 1e-5. The bias is then a whole
# number of steps of x_scale * 1.0, and where inputs are large it is lost: biases 1.2 and -0.4 become 0 and
# 0. Seen with onnxruntime 1.32.0, onnx 1.23.2.
#
# Guessed: a scale so small that it does no harm, or that of the other channels. Wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet onnxruntime==1.32.0 onnx==1.23.2
env/bin/python -W ignore - <<'END'
import sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

draw = np.random.default_rng(0)
weight = draw.normal(size=(4, 2, 3)).astype(np.float32) * 0.001
weight[1:3] = 0
bias = np.float32([0.5, 1.2, -0.4, 0.2])
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w", "b"], ["y"])], "conv",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 10])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8])],
    [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "f.onnx")
samples = [{"x": draw.normal(size=(1, 2, 10)).astype(np.float32) * 400} for _ in range(50)]

class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter(samples)
    def get_next(self):
        return next(self.left, None)

quantize_static("f.onnx", "q.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
held = {t.name: numpy_helper.to_array(t) for t in onnx.load("q.onnx").graph.initializer}
[scales] = [v for k, v in held.items() if k.startswith("w") and k.endswith("scale")]
run = lambda path: onnxruntime.InferenceSession(path).run(None, samples[0])[0][0]
wanted, found = run("f.onnx")[1:3, 0], run("q.onnx")[1:3, 0]
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
print("weight scales of the four channels:", scales)
print("channels without weights, bias:", wanted, "after quantising:", found)
sys.exit(not ((scales[1:3] == 1).all() and (scales[[0, 3]] < 1e-4).all() and np.abs(found - wanted).max() > 0.3))
END
