"""Broken files, thousands of them: always a Graph or a ModelError, never anything else."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto

from tests.frontend.interpreter import OPERATORS as INTERPRETED
from tests.frontend.interpreter import evaluate
from tests.frontend.models import (
    assert_close,
    model,
    node,
    norm,
    norm_node,
    run_onnx,
    sample,
    weights,
)
from tests.frontend.quantized_models import as_onnxruntimes_operators, as_tf2onnx_exports
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.frontend.constants import FOLDABLE
from tinyodl.graph import Graph
from tinyodl.ops import IMPORTERS

CASES = 1500


def small_models() -> dict[str, onnx.ModelProto]:
    image = model(
        [
            node("Conv", ["x", "w", "b"], "a", "conv", pads=[1, 1, 1, 1], group=1),
            norm_node("a", "n"),
            node("Clip", ["n", "lo", "hi"], "c"),
            node("MaxPool", ["c"], "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("ReduceMean", ["p"], "m", axes=[2, 3], keepdims=0),
            node("Gemm", ["m", "v", "u"], "g", transB=1, alpha=0.5),
            node("Softmax", ["g"], "y"),
        ],
        ["N", 2, 5, 5],
        {"w": weights(3, 2, 3, 3), "b": weights(3), "lo": np.float32(0), "hi": np.float32(6),
         "v": weights(2, 3), "u": weights(2)} | norm(3),
    )  # fmt: skip
    series = model(
        [
            node("Conv", ["x", "w"], "a", "conv", auto_pad="SAME_LOWER", strides=[2]),
            node("AveragePool", ["a"], "p", kernel_shape=[2], count_include_pad=1, pads=[1, 0]),
            node("Shape", ["p"], "s"),
            node("Gather", ["s", "zero"], "batch"),
            node("Concat", ["batch", "rest"], "t", axis=0),
            node("Reshape", ["p", "t"], "f"),
            node("MatMul", ["f", "v"], "m"),
            node("Add", ["m", "u"], "y"),
        ],
        [1, 2, 9],
        {"w": weights(3, 2, 3), "zero": np.int64([0]), "rest": np.int64([-1]),
         "v": weights(15, 2), "u": weights(2)},
        rank=2,
    )  # fmt: skip
    quantized = {"qdq": as_tf2onnx_exports(), "qoperator": as_onnxruntimes_operators()}
    return {"image": image, "series": series} | quantized


MODELS = small_models()


def graph_or_error(path, data: bytes) -> Graph | None:
    path.write_bytes(data)
    try:
        return import_model(path)
    except ModelError as error:
        assert str(path) in str(error)
        return None


@pytest.mark.parametrize("name", MODELS)
def test_the_models_themselves_import(tmp_path, name):
    graph = graph_or_error(tmp_path / "m.onnx", MODELS[name].SerializeToString())
    assert graph is not None and evaluate(graph, sample(graph)).size in (2, 3)


@pytest.mark.parametrize("name", MODELS)
def test_changed_bytes(tmp_path, name):
    original = MODELS[name].SerializeToString()
    draw = random.Random(name)
    survived = 0
    for _ in range(CASES):
        data = bytearray(original)
        for _ in range(draw.choice((1, 1, 2, 5, 20))):
            place = draw.randrange(len(data))
            kind = draw.randrange(4)
            if kind == 0:
                data[place] ^= 1 << draw.randrange(8)
            elif kind == 1:
                data[place] = draw.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del data[place : place + draw.randrange(1, 9)]
            else:
                data[place:place] = draw.randbytes(draw.randrange(1, 9))
        survived += graph_or_error(tmp_path / "m.onnx", bytes(data)) is not None
    assert 0 < survived < CASES  # both ends are reached


NUMBERS = st.sampled_from([-(2**63), -(2**31), -5, -1, 0, 1, 2, 3, 7, 2**16, 2**31, 2**62])
FLOATS = st.sampled_from([0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan")])
OPERATORS = sorted((*IMPORTERS, *FOLDABLE, "Constant", "Shape", "Erf", "Loop", "If"))


@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(sorted(MODELS)), st.data())
def test_changed_structure(tmp_path, name, data):
    """Attributes, operators, connections, shapes and opsets that ONNX allows to be written.

    What is imported all the same computes what onnxruntime computes, where that runs it and the
    interpreter has the operators (those of the models do; each other one has its own tests).
    """
    made = onnx.ModelProto()
    made.CopyFrom(MODELS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(made, data.draw)
    path = tmp_path / "m.onnx"
    graph = graph_or_error(path, made.SerializeToString())
    if graph is None or max(tensor.size for tensor in graph.tensors.values()) > 1 << 16:
        return  # onnxruntime's float32 sums over so many elements are not exact
    if not {node.op for node in graph.nodes} <= INTERPRETED.keys():
        return
    x = sample(graph)
    try:
        expected = run_onnx(path, x)
    except Exception:  # onnxruntime refuses an input dimension of 0 for a batch that is not known
        return
    got = evaluate(graph, x)
    assert got.shape == expected.shape
    if np.isfinite(expected).all():
        assert_close(got, expected)


def mutate(made: onnx.ModelProto, draw) -> None:
    graph = made.graph
    victim = graph.node[draw(st.integers(0, len(graph.node) - 1))]
    names = sorted({*victim.input, *victim.output, *(t.name for t in graph.initializer), "", "x"})
    tensor = graph.initializer[draw(st.integers(0, len(graph.initializer) - 1))]
    kind = draw(st.sampled_from(["op", "attr", "input", "drop", "dims", "opset", "type", "shape"]))
    if kind == "op":
        victim.op_type = draw(st.sampled_from(OPERATORS))
    elif kind == "attr" and victim.attribute:
        change(victim.attribute[draw(st.integers(0, len(victim.attribute) - 1))], draw)
    elif kind == "input" and victim.input:
        place = draw(st.integers(0, len(victim.input) - 1))
        victim.input[place] = draw(st.sampled_from(names))
    elif kind == "drop" and victim.input:
        del victim.input[-1]
    elif kind == "dims" and tensor.dims:
        tensor.dims[0] = draw(NUMBERS)
    elif kind == "opset":
        made.opset_import[0].version = draw(st.integers(9, 27))
    elif kind == "type":
        tensor.data_type = draw(st.integers(0, 25))
    elif kind == "shape":
        dimension = graph.input[0].type.tensor_type.shape.dim
        dimension[draw(st.integers(0, len(dimension) - 1))].dim_value = draw(NUMBERS)


def change(attribute: AttributeProto, draw) -> None:
    if attribute.ints:
        if draw(st.booleans()):
            attribute.ints[draw(st.integers(0, len(attribute.ints) - 1))] = draw(NUMBERS)
        else:
            attribute.ints.append(draw(NUMBERS))
    elif attribute.type == AttributeProto.INT:
        attribute.i = draw(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = draw(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = draw(st.sampled_from([b"VALID", b"SAME_UPPER", b"NOTSET", b"\xff", b""]))
    else:
        attribute.type = draw(st.integers(0, 14))
