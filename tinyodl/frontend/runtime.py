"""onnxruntime as the frontend uses it: without optimisations, in one thread, and quiet."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

_QUIET = 4


def session(model: onnx.ModelProto, simplified: Path | None = None) -> onnxruntime.InferenceSession:
    """A session that computes the model node by node, as it is written.

    Where a path is given, the basic optimisations are done first, and what they make is written
    there.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if simplified is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(simplified)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def one_line(error: Exception) -> str:
    """The message of onnxruntime or onnx as one line of limited length."""
    return " ".join(str(error).split())[:300]
