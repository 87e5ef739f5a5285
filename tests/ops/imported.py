"""ONNX models of one operator: the generated C computes what onnxruntime does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.hostnet import HostNet
from tinyodl.frontend import import_model
from tinyodl.graph import Graph
from tinyodl.project.plan import UpdatePlan


def same_as_onnxruntime(
    made: onnx.ModelProto,
    folder: Path,
    *,
    output: str | None = None,
    x: Sequence[np.ndarray] = (),
    optimised: bool | None = None,
) -> Graph:
    """Import the model, and compare its generated C with onnxruntime.

    The inputs are `x`, in their order, or drawn from a normal distribution.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    graph = import_model(path, output)
    net = HostNet(graph, UpdatePlan(loss="mse"), folder / "net", optimised=optimised)
    rng = np.random.default_rng(0)
    drawn = tuple(x) or tuple(rng.normal(size=s).astype(np.float32) for s in net.input_shapes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    feed = dict(zip(graph.inputs, drawn, strict=True))
    (expected,) = session.run(list(graph.outputs), feed)
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
    np.testing.assert_allclose(net.forward(drawn), expected, rtol=1e-5, atol=2e-6 * scale)
    return graph
