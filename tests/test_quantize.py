"""int8 from float32: what the host sends, and what --precision int8 makes of a model."""

from __future__ import annotations

import numpy as np
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tinyodl.graph import Quantization

floats = st.floats(-(2.0**90), 2.0**90, width=32)


def quantize_linear(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """onnxruntime's QuantizeLinear."""
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])],
        "quantize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("q", TensorProto.INT8, [None])],
        [
            numpy_helper.from_array(np.float32(scale), "scale"),
            numpy_helper.from_array(np.int8(zero_point), "zero"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@given(
    x=st.lists(floats, min_size=1, max_size=40),
    scale=st.floats(2.0**-30, 2.0**30, width=32),
    zero_point=st.integers(-128, 127),
)
def test_real_numbers_become_int8_as_in_onnxruntime(x, scale, zero_point):
    values = np.array(x, np.float32)
    near = np.arange(-140, 140, dtype=np.float32)
    values = np.concatenate([values, values * np.float32(scale), (near + 0.5) * np.float32(scale)])
    made = Quantization((scale,), zero_point).quantize(values)
    np.testing.assert_array_equal(made, quantize_linear(values, scale, zero_point))
