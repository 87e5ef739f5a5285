"""An imported Graph computes what the ONNX file computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.frontend.models import (
    assert_same_network,
    float_models,
    model,
    node,
    norm,
    norm_node,
    saved,
    weights,
)
from tests.ops.imported import same_as_onnxruntime
from tinyodl.frontend import import_model, model_bytes
from tinyodl.graph import Graph, Storage
from tinyodl.ops import OPERATORS


@pytest.mark.parametrize("path", float_models())
def test_real_models_compute_what_onnxruntime_computes(path: Path):
    graph = assert_same_network(path)
    assert {n.op for n in graph.nodes} <= OPERATORS.keys()
    for name, tensor in graph.constants.items():
        assert tensor.storage is Storage.FLASH and tensor.origin is not None, name
        assert tensor.data.dtype == np.float32 and tensor.data.flags.c_contiguous
        assert tensor.data.shape == tensor.shape


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def imported(folder: Path, *args, **options) -> Graph:
    return assert_same_network(saved(model(*args, **options), folder))


def test_names_and_order_are_those_of_the_file(tmp_path):
    made = model(
        [
            node("Relu", ["x"], "a"),
            node("Relu", ["a"], "b", "given"),
            node("Relu", ["b"], "c", "given"),
            node("Relu", ["c"], "y", "Relu_0"),
        ],
        [1, 4],
    )
    graph = import_model(saved(made, tmp_path))
    assert [n.name for n in graph.nodes] == ["Relu_0_2", "given", "given_2", "Relu_0"]
    assert graph.inputs == ("x",) and graph.outputs == ("y",)


CONV = {"w": weights(6, 3, 3, 3), "b": weights(6)}


@pytest.mark.parametrize("op", ["Relu", "Identity", "Dropout"])
def test_the_output_keeps_its_name_whatever_makes_it(tmp_path, op):
    graph = imported(
        tmp_path, [node("Conv", ["x", "w"], "a", "c"), node(op, ["a"], "y")], [1, 3, 8, 8], CONV
    )
    assert graph.outputs == ("y",) and graph.producer["y"].op in ("Relu", "Conv")


def test_identity_and_dropout_disappear(tmp_path):
    graph = imported(
        tmp_path,
        [
            node("Identity", ["x"], "a"),
            node("Relu", ["a"], "b"),
            helper.make_node("Dropout", ["b", "ratio"], ["c", "mask"]),
            node("Identity", ["c"], "d"),
            node("Add", ["d", "a"], "y"),
        ],
        [1, 4],
        {"ratio": np.float32(0.5)},
    )
    assert ops(graph) == ["Relu", "Add"]


@pytest.mark.parametrize("bias", [[], ["b"]])
@pytest.mark.parametrize("between", ["", "Identity", "Dropout"])
def test_batch_normalization_folds_into_conv(tmp_path, bias, between):
    nodes = [node("Conv", ["x", "w", *bias], "a", "conv"), norm_node("a", "y")]
    if between:
        nodes = [nodes[0], node(between, ["a"], "a2"), norm_node("a2", "y")]
    graph = imported(tmp_path, nodes, [1, 3, 8, 8], CONV | norm(6))
    assert ops(graph) == ["Conv"]
    weight, offset = (graph.tensor(name) for name in graph.nodes[0].inputs[1:])
    assert weight.origin.folded == offset.origin.folded == ("bn",)
    assert (weight.origin.node, weight.origin.slot, weight.origin.initializer) == ("conv", 1, "w")
    assert (offset.origin.node, offset.origin.slot) == ("conv", 2)
    assert offset.origin.initializer == ("b" if bias else None)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), (), (1, 1), None], ids=str)
@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.5, -3.0), (2.0, 0.0)])
@pytest.mark.parametrize("normed", [False, True])
def test_gemm_in_all_its_forms(tmp_path, transposed, shape, alpha, beta, normed):
    constants = {"w": weights(5, 7) if transposed else weights(7, 5)} | norm(5)
    inputs = ["x", "w"]
    if shape is not None:
        constants["c"] = weights(*shape)
        inputs.append("c")
    layer = node("Gemm", inputs, "a", "gemm", transB=transposed, alpha=alpha, beta=beta)
    last = norm_node("a", "y") if normed else node("Relu", ["a"], "y")
    graph = imported(tmp_path, [layer, last], [1, 7], constants)
    assert ops(graph)[0] == "Gemm" and graph.nodes[0].attrs == {}
    weight = graph.tensor(graph.nodes[0].inputs[1])
    assert weight.shape == (5, 7) and weight.origin.scale == alpha
    assert weight.origin.transform == ("none" if transposed else "transpose")


@pytest.mark.parametrize("shape", [(1, 7), (1, 1, 7), (1, 1, 1, 7)], ids=str)
@pytest.mark.parametrize("bias_first", [False, True])
def test_matmul_and_add_are_a_gemm(tmp_path, shape, bias_first):
    operands = ["b", "a"] if bias_first else ["a", "b"]
    graph = imported(
        tmp_path,
        [node("MatMul", ["x", "w"], "a", "dense"), node("Add", operands, "y", "bias")],
        shape,
        {"w": weights(7, 5), "b": weights(5)},
    )
    layer = next(n for n in graph.nodes if n.op == "Gemm")
    assert set(ops(graph)) <= {"Gemm", "Reshape"} and layer.name == "dense"
    bias = graph.tensor(layer.inputs[2])
    assert (bias.origin.node, bias.origin.slot, bias.origin.initializer) == (
        "bias", 0 if bias_first else 1, "b",
    )  # fmt: skip


@pytest.mark.parametrize(
    "chain",
    ["MatMul bn", "MatMul Add bn", "MatMul bn Add", "Gemm Add bn Add", "MatMul Scalar bn"],
)
def test_chains_behind_a_dense_layer_fold_in_any_order(tmp_path, chain):
    constants = {"w": weights(7, 5), "b": weights(5), "c": weights(1, 5), "s": np.float32(0.3)}
    nodes, value = [], "x"
    for index, step in enumerate(chain.split()):
        output = f"v{index}" if index < len(chain.split()) - 1 else "y"
        if step == "bn":
            nodes.append(norm_node(value, output))
        elif step == "Add":
            nodes.append(node("Add", [value, "b" if index == 1 else "c"], output))
        elif step == "Scalar":
            nodes.append(node("Add", ["s", value], output))
        else:
            nodes.append(node(step, [value, "w"], output))
        value = output
    assert ops(imported(tmp_path, nodes, [1, 7], constants | norm(5))) == ["Gemm"]


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (6, 1, 1), (1, 1, 1), ()], ids=str)
@pytest.mark.parametrize("bias", [[], ["b"]])
def test_a_constant_added_to_a_conv_is_its_bias(tmp_path, shape, bias):
    graph = imported(
        tmp_path,
        [node("Conv", ["x", "w", *bias], "a"), node("Add", ["a", "c"], "y")],
        [1, 3, 8, 8],
        CONV | {"c": weights(*shape)},
    )
    assert ops(graph) == ["Conv"]


def test_one_dimensional_layers_are_seen_as_images(tmp_path):
    graph = imported(
        tmp_path,
        [
            node("Conv", ["x", "w1"], "a", "conv1", pads=[1, 2], strides=[2]),
            norm_node("a", "b"),
            node("Relu", ["b"], "c"),
            node("Conv", ["c", "w2", "b2"], "d", "conv2", dilations=[2], group=2),
            node("MaxPool", ["d"], "e", kernel_shape=[3], strides=[2], pads=[1, 0]),
            node("AveragePool", ["e"], "f", kernel_shape=[2], pads=[0, 1], count_include_pad=1),
            node("GlobalAveragePool", ["f"], "y"),
        ],
        [1, 3, 40],
        {"w1": weights(4, 3, 5), "w2": weights(6, 2, 3), "b2": weights(6)} | norm(4),
    )
    convs = [n for n in graph.nodes if n.op == "Conv"]
    assert [n.name for n in convs] == ["conv1", "conv2"]
    assert [graph.shape(n.inputs[1]) for n in convs] == [(4, 3, 1, 5), (6, 2, 1, 3)]
    assert graph.tensor(convs[0].inputs[1]).origin.folded == ("bn",)
    views = [n for n in graph.nodes if n.op == "Reshape"]
    assert all(graph.producer[v.inputs[0]].op != "Reshape" for v in views if v.inputs[0] != "x")


def test_a_view_of_a_view_is_one_view(tmp_path):
    graph = imported(
        tmp_path,
        [
            node("Relu", ["x"], "a"),
            node("Flatten", ["a"], "b"),
            node("Reshape", ["b", "shape"], "c"),
            node("Reshape", ["c", "back"], "d"),
            node("Add", ["a", "d"], "y"),
        ],
        [1, 2, 3, 4],
        {"shape": np.int64([4, -1]), "back": np.int64([1, 2, 3, 4])},
    )
    assert ops(graph) == ["Relu", "Add"]


VIEWS = [
    ("Flatten", {"axis": 0}, {}, 17),
    ("Flatten", {"axis": -1}, {}, 17),
    ("Reshape", {}, {"in": np.int64([0, -1, 2])}, 17),
    ("Reshape", {"allowzero": 1}, {"in": np.int64([1, 24])}, 17),
    ("Squeeze", {"axes": [0, -1]}, {}, 11),
    ("Squeeze", {}, {"in": np.int64([-1])}, 17),
    ("Squeeze", {}, {}, 17),
    ("Unsqueeze", {"axes": [0, 3]}, {}, 11),
    ("Unsqueeze", {}, {"in": np.int64([-1, 1])}, 17),
]


@pytest.mark.parametrize("op, attrs, constants, opset", VIEWS)
def test_views(tmp_path, op, attrs, constants, opset):
    nodes = [node("Relu", ["x"], "a"), node(op, ["a", *constants], "y", **attrs)]
    graph = imported(tmp_path, nodes, [1, 3, 8, 1], constants, opset)
    assert set(ops(graph)) <= {"Relu", "Reshape"}


@pytest.mark.parametrize(
    "shape, axis, opset",
    [
        ([1, 6], -1, 17),
        ([1, 6], 1, 11),
        ([1, 3, 4], 1, 11),
        ([1, 3, 4], 2, 11),
        ([1, 3, 4], 2, 17),
        ([1, 6, 1, 1], 1, 13),
    ],
)
def test_softmax(tmp_path, shape, axis, opset):
    imported(tmp_path, [node("Softmax", ["x"], "y", axis=axis)], shape, opset=opset)


@pytest.mark.parametrize("bounds", [{"lo": -0.5, "hi": 0.25}, {"lo": 0.0}, {"hi": 0.25}, {}])
def test_clip(tmp_path, bounds):
    inputs = ["x", *(name if name in bounds else "" for name in ("lo", "hi"))]
    nodes = [node("Relu", ["x"], "a"), node("Clip", ["a", *inputs[1:]], "y")]
    held = {name: np.float32(value) for name, value in bounds.items()}
    graph = imported(tmp_path, nodes, [1, 6], held)
    assert ops(graph) == (["Relu", "Clip"] if bounds else ["Relu"])


def shapes_as_torch_writes_them() -> list[onnx.NodeProto]:
    """x.view(x.size(0), -1): Shape, Gather, Unsqueeze, Concat, Reshape."""
    return [
        node("Relu", ["x"], "a"),
        node("Shape", ["a"], "shape"),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.int64(0))),
        node("Gather", ["shape", "zero"], "batch", axis=0),
        node("Unsqueeze", ["batch", "first"], "batch1"),
        node("Concat", ["batch1", "rest"], "target", axis=0),
        node("Reshape", ["a", "target"], "flat"),
        node("MatMul", ["flat", "w"], "y"),
    ]


@pytest.mark.parametrize("batch", [1, "N", None])
def test_a_dynamic_batch_is_bound_to_one_and_shape_arithmetic_is_folded(tmp_path, batch):
    made = model(
        shapes_as_torch_writes_them(),
        [batch, 2, 3],
        {"first": np.int64([0]), "rest": np.int64([-1]), "w": weights(6, 4)},
        rank=2,
    )
    graph = import_model(saved(made, tmp_path))
    assert ops(graph) == ["Relu", "Reshape", "Gemm"] and graph.shape("x") == (1, 2, 3)


def test_prepared_weights_are_folded(tmp_path):
    graph = imported(
        tmp_path,
        [
            node("Transpose", ["w"], "wt", perm=[1, 0]),
            node("Mul", ["wt", "two"], "w2"),
            node("Gemm", ["x", "w2"], "y", "gemm"),
        ],
        [1, 7],
        {"w": weights(5, 7), "two": np.float32(2)},
    )
    assert ops(graph) == ["Gemm"]
    assert graph.tensor(graph.nodes[0].inputs[1]).origin.initializer is None


def test_layers_that_share_an_initializer_share_one_tensor(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a", "one"), node("MatMul", ["a", "w"], "y", "two")]
    graph = imported(tmp_path, nodes, [1, 5], {"w": weights(5, 5)})
    first, second = (n.inputs[1] for n in graph.nodes)
    assert first == second == "w"
    assert graph.tensor("w").origin.tied == (("two", 1),)


def test_a_normalisation_is_not_folded_into_a_weight_that_another_layer_reads(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], "a", "one"),
        norm_node("a", "b"),
        node("Conv", ["b", "w"], "y", "two"),
    ]
    made = model(nodes, [1, 4, 6], norm(4) | {"w": weights(4, 4, 1)})
    graph = import_model(saved(made, tmp_path))
    assert ops(graph).count("BatchNormalization") == 1
    same_as_onnxruntime(made, tmp_path)


def test_several_inputs_keep_their_order_and_unused_ones_go(tmp_path):
    made = model([node("Add", ["z", "x"], "y")], [1, 8], rank=2)
    for name in ("z", "nobody"):
        value = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 8])
        made.graph.input.append(value)
    graph = import_model(saved(made, tmp_path))
    assert graph.inputs == ("x", "z") and graph.shape("z") == (1, 8)


def test_the_chosen_output_and_what_it_needs_remain(tmp_path):
    nodes = [node("Relu", ["x"], "y"), node("Relu", ["y"], "a"), node("Sin", ["a"], "z")]
    made = model(nodes, [1, 8], rank=2)
    made.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 8]))
    graph = import_model(saved(made, tmp_path), "y")
    assert graph.outputs == ("y",) and len(graph.nodes) == 1


def test_what_the_output_does_not_need_is_left_out(tmp_path):
    dead = [node("Sin", ["x"], "dead"), node("LSTM", ["dead", "w", "w"], "gone", hidden_size=3)]
    made = model([node("Relu", ["x"], "y"), dead[0]], [1, 5])
    assert ops(import_model(saved(made, tmp_path))) == ["Relu"]


def test_local_functions_are_inlined(tmp_path):
    body = [node("Relu", ["a"], "b"), node("Add", ["b", "a"], "c")]
    function = helper.make_function(
        "own", "Block", ["a"], ["c"], body, [helper.make_opsetid("", 17)]
    )
    nodes = [node("Block", ["x"], "m", domain="own"), node("Block", ["m"], "y", domain="own")]
    made = model(nodes, [1, 4], domains=["own"], rank=2)
    made.functions.append(function)
    assert ops(assert_same_network(saved(made, tmp_path))) == ["Relu", "Add"] * 2


def test_initializers_that_are_also_inputs_are_constants(tmp_path):
    made = model([node("MatMul", ["x", "w"], "y")], [1, 5], {"w": weights(5, 3)})
    made.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [5, 3]))
    assert assert_same_network(saved(made, tmp_path)).inputs == ("x",)


def test_external_data_is_read(tmp_path):
    made = model([node("MatMul", ["x", "w"], "y")], [1, 64], {"w": weights(64, 32)})
    path = tmp_path / "model.onnx"
    onnx.save_model(made, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    graph = import_model(path)
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(model_bytes(path))
    (tmp_path / "w.bin").unlink()
    assert np.array_equal(graph.tensor("w").data, import_model(whole).tensor("w").data)
    assert_same_network(whole)


@pytest.mark.parametrize("opset", range(11, 26))
def test_every_supported_opset(tmp_path, opset):
    axes = {"axes": np.int64([2, 3])} if opset >= 18 else {}
    squeezed = {"s": np.int64([3])} if opset >= 13 else {}
    nodes = [
        node("Conv", ["x", "w", "b"], "a", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        norm_node("a", "c"),
        node("Clip", ["c", "lo", "hi"], "d"),
        node("MaxPool", ["d"], "e", kernel_shape=[2, 2], strides=[2, 2]),
        node("Dropout", ["e"], "f"),
        node("AveragePool", ["f"], "g", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
        node("Unsqueeze", ["g", *squeezed], "u", **({} if squeezed else {"axes": [3]})),
        node("Squeeze", ["u", *squeezed], "h", **({} if squeezed else {"axes": [3]})),
        node("ReduceMean", ["h", *axes], "i", **({} if axes else {"axes": [2, 3]})),
        node("Flatten", ["i"], "j"),
        node("Gemm", ["j", "v"], "k"),
        node("Softmax", ["k"], "y", axis=1),
    ]
    bounds = {"lo": np.float32(0), "hi": np.float32(6)}
    constants = CONV | norm(6) | bounds | axes | squeezed | {"v": weights(6, 4)}
    imported(tmp_path, nodes, [1, 3, 8, 8], constants, opset)


def test_twice_the_nodes_take_twice_the_work_to_import(tmp_path):
    assert lines_to_import(tmp_path, 200) < 2.5 * lines_to_import(tmp_path, 100)


def lines_to_import(folder, layers: int) -> int:
    """Lines of Python that run while a model of so many layers, 3 nodes each, is imported."""
    nodes, constants = [], norm(4)
    for index in range(layers):
        constants[f"w{index}"] = weights(4, 4, 1, 1) * 0.1
        nodes += [
            node("Conv", [f"v{index}", f"w{index}"], f"c{index}"),
            norm_node(f"c{index}", f"n{index}"),
            node("Relu", [f"n{index}"], f"v{index + 1}"),
        ]
        nodes[-2].name = f"bn{index}"
    nodes[0].input[0] = "x"
    path = saved(model(nodes, [1, 4, 2, 2], constants, output=f"v{layers}"), folder)
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        import_model(path)
    finally:
        sys.settrace(before)
    return lines
