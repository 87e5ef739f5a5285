"""Operators that onnxruntime's optimiser writes: the generated C computes what onnxruntime does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.frontend.models import model, node, norm, norm_node, saved, weights
from tests.ops.imported import same_as_onnxruntime

MS = "com.microsoft"


def fused(op, inputs, held, shape, **attrs):
    nodes = [node(op, ["x", *inputs], "y", "n", domain=MS, **attrs)]
    return model(nodes, shape, held, domains=[MS], rank=len(shape))


@pytest.mark.parametrize(
    "made",
    [
        fused("Gelu", [], {}, [1, 9]),
        fused("QuickGelu", [], {}, [1, 9], alpha=1.5),
        fused("FastGelu", ["b"], {"b": weights(9)}, [1, 9]),
        fused("BiasGelu", ["b"], {"b": weights(9)}, [1, 9]),
        fused("FusedGemm", ["w", "b"], {"w": weights(5, 9), "b": weights(5)}, [1, 9], transB=1,
              activation="LeakyRelu", activation_alpha=0.2),
        fused("FusedMatMul", ["w"], {"w": weights(5, 9)}, [1, 3, 9], transB=1, alpha=0.5),
        fused("FusedMatMul", ["x"], {}, [1, 3, 9], transA=1),
        fused("FusedConv", ["w", "b"], {"w": weights(4, 2, 3, 3), "b": weights(4)}, [1, 2, 6, 6],
              activation="Clip", activation_params=[0.0, 1.0]),
        fused("FusedConv", ["w", "b", "x"], {"w": weights(2, 2, 1, 1), "b": weights(2)},
              [1, 2, 6, 6], activation="Relu"),
        fused("SkipLayerNormalization", ["k", "g", "b", "c"], {"k": weights(1, 3, 8),
              "g": weights(8) + 1, "b": weights(8), "c": weights(8)}, [1, 3, 8], epsilon=1e-5),
    ],
    ids=lambda made: made.graph.node[0].op_type,
)  # fmt: skip
def test_by_itself(tmp_path, made):
    same_as_onnxruntime(made, tmp_path)


def test_layer_normalisation_below_opset_17(tmp_path):
    nodes = [node("LayerNormalization", ["x", "g", "b"], "y", axis=-1)]
    held = {"g": weights(9) + 1, "b": weights(9)}
    graph = same_as_onnxruntime(model(nodes, [1, 9], held, opset=12, rank=2), tmp_path)
    assert [n.op for n in graph.nodes] == ["Normalization"]


def test_a_file_that_onnxruntime_has_optimised(tmp_path):
    """All its optimisations: the layers are the ones of the file before."""
    nodes = [
        node("Conv", ["x", "w"], "c", "conv", pads=[1, 1, 1, 1]),
        norm_node("c", "n"),
        node("Relu", ["n"], "r"),
        node("GlobalAveragePool", ["r"], "p"),
        node("Flatten", ["p"], "f"),
        node("Gemm", ["f", "v"], "g", "dense"),
        node("Relu", ["g"], "y"),
    ]
    held = {"w": weights(8, 2, 3, 3), "v": weights(8, 3), **norm(8)}
    path = saved(model(nodes, [1, 2, 6, 6], held), tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    made = onnx.load(tmp_path / "optimised.onnx")
    assert {"FusedConv", "FusedGemm"} <= {n.op_type for n in made.graph.node}
    graph = same_as_onnxruntime(made, tmp_path / "again")
    assert [n.op for n in graph.nodes if n.op in ("Conv", "Gemm")] == ["Conv", "Gemm"]
    assert np.isfinite(graph.tensor(graph.nodes[0].inputs[1]).data).all()
