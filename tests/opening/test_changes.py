"""Files as people have them: what is changed before the import, and that it stays right.

The oracle is onnxruntime on the file as it was. The generated C runs in this process.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontend.models import assert_close, model, node, saved, weights
from tests.hostnet import HostNet
from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import Changes, import_model, prepare
from tinyodl.frontend.opening.given_shapes import shapes_of
from tinyodl.project.plan import UpdatePlan

FLOAT = TensorProto.FLOAT


def file(folder, nodes, inputs, outputs, constants, opset=17, **domains):
    """A file with these inputs and outputs: {name: shape}, float32."""
    given = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()]
    made = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in outputs.items()]
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    ids = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains.values())]
    graph = helper.make_graph(nodes, "g", given, made, held)
    return saved(helper.make_model(graph, opset_imports=ids, ir_version=8), folder)


def original(path, **feeds):
    """onnxruntime's first output of the file as it is."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def computed(prepared, x, folder):
    net = HostNet(prepared.graph, UpdatePlan(layers={}, loss="mse"), folder / "net")
    return np.asarray(net.forward(x))


def gru(x="x"):
    """A GRU, and a layer on its last state."""
    nodes = [
        helper.make_node("GRU", [x, "W", "R"], ["s", "n"], hidden_size=4),
        node("Squeeze", ["n", "ax"], "q"),
        node("Gemm", ["q", "F"], "y", transB=1),
    ]
    held = {"W": weights(1, 12, 5), "R": weights(1, 12, 4), "F": weights(3, 4), "ax": np.array([0])}
    return nodes, held


class TestAxes:
    def test_a_shape_on_the_command_line_as_the_error_prints_it(self, tmp_path):
        nodes, held = gru("t")
        nodes.insert(0, node("Transpose", ["x"], "t", perm=[1, 0, 2]))
        path = file(tmp_path, nodes, {"x": ["N", "T", 5]}, {"y": ["N", 3]}, held)
        with pytest.raises(ModelError, match=r"--shape x=1,T,5 with a number for T"):
            prepare(path, Changes())
        prepared = prepare(path, Changes(shapes=shapes_of("x=1,7,5")))
        assert prepared.graph.shape("x") == (1, 7, 5) and "(1, 7, 5)" in prepared.notes[0]
        x = weights(1, 7, 5)
        assert_close(computed(prepared, x, tmp_path), original(path, x=x))

    @pytest.mark.parametrize(
        "given, words",
        [("x", "name and the size"), ("x=1,T", "name and the size"), ("x=1,0", "sizes from 1"),
         ("z=1,5", "its inputs are 'x'"), ("x=1,6", "the file says N,5")],
    )  # fmt: skip
    def test_shapes_that_cannot_be(self, tmp_path, given, words):
        path = saved(model([node("Relu", ["x"], "y")], ["N", 5]), tmp_path)
        with pytest.raises(UserError, match=words):
            prepare(path, Changes(shapes=shapes_of(given)))

    def test_a_state_of_the_same_batch_symbol(self, tmp_path):
        nodes = [node("Squeeze", ["h", "ax"], "s"), node("Add", ["x", "s"], "y")]
        inputs = {"x": ["batch", 5], "h": [1, "batch", 5]}
        path = file(tmp_path, nodes, inputs, {"y": ["batch", 5]}, {"ax": np.array([0])})
        assert prepare(path, Changes()).graph.shape("h") == (1, 1, 5)

    def test_a_batch_in_the_file_is_one_sample_here(self, tmp_path):
        nodes = [
            node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]),
            node("Reshape", ["c", "sizes"], "r"),
            node("Gemm", ["r", "v"], "y"),
        ]
        held = {"w": weights(2, 1, 3, 3), "sizes": np.array([64, -1]), "v": weights(32, 3)}
        path = file(tmp_path, nodes, {"x": [64, 1, 4, 4]}, {"y": [64, 3]}, held)
        prepared = prepare(path, Changes(check=False))
        assert "the batch of 64 in the file is 1 here" in prepared.notes[0]
        x = weights(64, 1, 4, 4)
        assert_close(computed(prepared, x[5:6], tmp_path), original(path, x=x)[5:6])

    @pytest.mark.parametrize("rows", [1 << 20, 1 << 31, 1 << 62])
    def test_a_batch_that_nobody_could_run_is_refused(self, tmp_path, rows):
        nodes = [node("Gemm", ["x", "v"], "y")]
        path = file(tmp_path, nodes, {"x": [rows, 5]}, {"y": [rows, 2]}, {"v": weights(5, 2)})
        with pytest.raises(ModelError, match=f"batch of {rows}, too large .* with batch 1"):
            prepare(path, Changes())

    def test_rows_that_depend_on_each_other_stay_together(self, tmp_path):
        nodes = [
            node("ReduceMean", ["x"], "m", axes=[0], keepdims=1),
            node("Sub", ["x", "m"], "d"),
            node("Gemm", ["d", "v"], "y"),
        ]
        path = file(tmp_path, nodes, {"x": [4, 5]}, {"y": [4, 2]}, {"v": weights(5, 2)})
        prepared = prepare(path, Changes())
        assert prepared.notes == ("'x' (4, 5) has no batch: all of it is one sample",)
        x = weights(4, 5)
        assert_close(computed(prepared, x, tmp_path)[0], original(path, x=x))

    def test_time_comes_first_in_pytorchs_recurrent_layers(self, tmp_path):
        nodes, held = gru()
        path = file(tmp_path, nodes, {"x": [6, 1, 5]}, {"y": [1, 3]}, held)
        prepared = prepare(path, Changes())
        assert prepared.graph.shape("x") == (1, 6, 1, 5)
        x = weights(6, 1, 5)
        assert_close(computed(prepared, x, tmp_path), original(path, x=x))

    def test_an_open_first_axis_that_is_time(self, tmp_path):
        nodes, held = gru()
        path = file(tmp_path, nodes, {"x": ["T", 1, 5]}, {"y": [1, 3]}, held)
        with pytest.raises(ModelError, match="--shape x=T,1,5 with a number for T"):
            prepare(path, Changes())
        assert prepare(path, Changes(shapes=shapes_of("x=6,1,5"))).graph.shape("x") == (1, 6, 1, 5)

    def test_an_input_without_a_batch(self, tmp_path):
        nodes = [
            node("Unsqueeze", ["x", "ax"], "u"),
            node("Gemm", ["u", "v"], "g"),
            node("Squeeze", ["g", "ax"], "y"),
        ]
        held = {"v": weights(9, 4), "ax": np.array([0])}
        path = file(tmp_path, nodes, {"x": [9]}, {"y": [4]}, held)
        prepared = prepare(path, Changes())
        assert prepared.graph.shape("y") == (1, 4)
        x = weights(9)
        assert_close(computed(prepared, x, tmp_path)[0], original(path, x=x))


class TestOutputs:
    def two(self, tmp_path, kind):
        nodes = [
            node("Gemm", ["x", "w"], "z"),
            node("Softmax", ["z"], "p"),
            node("ArgMax", ["p"], "label", axis=1, keepdims=0),
        ]
        path = file(tmp_path, nodes, {"x": ["N", 5]}, {"p": ["N", 3]}, {"w": weights(5, 3)})
        made = onnx.load(path)
        other = ("label", TensorProto.INT64, ["N"]) if kind == "label" else ("z", FLOAT, ["N", 3])
        made.graph.output.insert(0, helper.make_tensor_value_info(*other))
        return saved(made, tmp_path)

    def test_the_only_one_of_real_numbers_is_taken(self, tmp_path):
        prepared = prepare(self.two(tmp_path, "label"), Changes())
        assert prepared.graph.outputs == ("p",)
        assert prepared.notes == ("of 2 outputs 'p' is the only one of real numbers",)

    def test_each_is_named_with_what_it_looks_like(self, tmp_path):
        with pytest.raises(ModelError) as caught:
            prepare(self.two(tmp_path, "scores"), Changes())
        assert "--output z: (1, 3), scores" in str(caught.value)
        assert "--output p: (1, 3), probabilities" in str(caught.value)


def test_all_causes_at_once(tmp_path):
    nodes = [
        node("Sin", ["x"], "s"),
        node("Odd", ["s"], "o", domain="com.example"),
        node("Relu", ["o"], "y"),
        node("Relu", ["s"], "z"),
    ]
    path = file(
        tmp_path, nodes, {"x": ["N", "T"]}, {"y": None, "z": None}, {}, domain="com.example"
    )
    with pytest.raises(ModelError) as caught:
        prepare(path, Changes())
    for words in ("4 things", "--shape x=1,T", "--output y", "Sin: unknown", "'com.example'"):
        assert words in str(caught.value)


class TestNodes:
    def test_an_order_that_only_onnxruntime_takes(self, tmp_path):
        nodes = [
            node("Gemm", ["x", "w"], "a"),
            node("Relu", ["b"], "c"),
            node("Gemm", ["c", "v"], "y"),
            node("Mul", ["a", "k"], "b"),
        ]
        held = {"w": weights(5, 4), "v": weights(4, 3), "k": np.float32(1.5)}
        path = file(tmp_path, nodes, {"x": [1, 5]}, {"y": [1, 3]}, held)
        prepared = prepare(path, Changes())
        assert "sorted" in prepared.notes[0]
        assert [n.name for n in prepared.graph.nodes] == ["Gemm_0", "Mul_3", "Relu_1", "Gemm_2"]
        x = weights(1, 5)
        assert_close(computed(prepared, x, tmp_path), original(path, x=x))

    def test_a_circle_is_for_the_checker(self, tmp_path):
        nodes = [node("Add", ["x", "b"], "a"), node("Relu", ["a"], "b"), node("Relu", ["b"], "y")]
        path = file(tmp_path, nodes, {"x": [1, 5]}, {"y": [1, 5]}, {})
        with pytest.raises(ModelError, match="topologically sorted"):
            prepare(path, Changes())

    def test_an_opset_before_7_is_converted_and_compared(self, tmp_path):
        nodes = [
            node("Conv", ["x", "w"], "c", kernel_shape=[3, 3]),
            node("MaxPool", ["c"], "m", kernel_shape=[2, 2], strides=[2, 2]),
            node("Softmax", ["m"], "y", axis=1),
        ]
        path = file(
            tmp_path, nodes, {"x": [1, 1, 6, 6]}, {"y": [1, 2, 2, 2]}, {"w": weights(2, 1, 3, 3)}, 6
        )
        prepared = prepare(path, Changes())
        assert prepared.notes == ("opset 6 converted to 11",)
        x = weights(1, 1, 6, 6)
        assert_close(computed(prepared, x, tmp_path), original(path, x=x))

    def test_a_value_without_a_type(self, tmp_path):
        path = saved(model([node("Relu", ["x"], "a"), node("Relu", ["a"], "y")], [1, 5]), tmp_path)
        made = onnx.load(path)
        made.graph.value_info.add(name="a")
        assert import_model(saved(made, tmp_path)).shape("y") == (1, 5)


def test_a_difference_names_the_first_node_whatever_the_user_says(tmp_path, monkeypatch):
    """The converter is made wrong, as it has been: no file is accepted in silence."""
    nodes = [node("LeakyRelu", ["x"], "a", "leaky", alpha=0.5), node("Tanh", ["a"], "y", "tanh")]
    path = file(tmp_path, nodes, {"x": [1, 5]}, {"y": [1, 5]}, {}, 6)

    def wrong(given, opset):
        made = onnx.ModelProto()
        made.CopyFrom(given)
        made.opset_import[0].version = opset
        made.graph.node[0].attribute[0].f = 0.25
        return made

    monkeypatch.setattr("onnx.version_converter.convert_version", wrong)
    with pytest.raises(ModelError, match=r"node 'leaky' .* computes another 'a'"):
        prepare(path, Changes(check=False))


def learned(op, output, attrs):
    return helper.make_node(op, ["s"], output, op, domain="ai.onnx.ml", **attrs)


LINEAR = {"coefficients": weights(12).tolist(), "intercepts": weights(3).tolist()}
CLASSES = {"classlabels_ints": [3, 5, 8], "multi_class": 1, **LINEAR}


@pytest.mark.parametrize(
    "scaler, norm", [({"offset": [0.5], "scale": [2.0]}, "L1"), (None, "L2"), (None, "MAX")]
)
@pytest.mark.parametrize(
    "model_of",
    [
        learned("LinearRegressor", ["y"], {"targets": 3, **LINEAR}),
        learned("LinearClassifier", ["label", "y"], {"post_transform": "SOFTMAX", **CLASSES}),
        learned("LinearClassifier", ["label", "y"], {"post_transform": "LOGISTIC", **CLASSES}),
    ],
    ids=lambda made: made.op_type,
)
def test_linear_models_of_scikit_learn(tmp_path, model_of, scaler, norm):
    first = ("Scaler", scaler) if scaler else ("Normalizer", {"norm": norm})
    nodes = [helper.make_node(first[0], ["x"], ["s"], "first", domain="ai.onnx.ml", **first[1])]
    path = file(
        tmp_path, [*nodes, model_of], {"x": ["N", 4]}, {"y": ["N", 3]}, {}, 11, ml="ai.onnx.ml"
    )
    if len(model_of.output) > 1:
        made = onnx.load(path)
        made.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
        saved(made, tmp_path)
    prepared = prepare(path, Changes())
    assert model_of.op_type in prepared.notes[0]
    names = [n.name for n in prepared.graph.nodes if n.op == "Gemm"]
    assert names == [model_of.op_type]  # a layer that learns
    x = np.abs(weights(1, 4))
    assert_close(computed(prepared, x, tmp_path), original(path, x=x))


def test_a_map_of_labels_is_the_scores_that_it_holds(tmp_path):
    nodes = [
        node("Gemm", ["x", "w"], "z"),
        node("Softmax", ["z"], "p"),
        helper.make_node("ZipMap", ["p"], ["m"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    path = file(
        tmp_path, nodes, {"x": ["N", 4]}, {"p": ["N", 3]}, {"w": weights(4, 3)}, ml="ai.onnx.ml"
    )
    made = onnx.load(path)
    of_map = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    kind = helper.make_sequence_type_proto(of_map)
    made.graph.output[0].CopyFrom(helper.make_value_info("m", kind))
    graph = prepare(saved(made, tmp_path), Changes()).graph
    assert graph.outputs == ("p",) and graph.shape("p") == (1, 3)


def test_a_tree_ensemble_is_refused_by_name(tmp_path):
    nodes = [helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], "trees", domain="ai.onnx.ml")]
    path = file(tmp_path, nodes, {"x": ["N", 4]}, {"y": ["N", 1]}, {}, ml="ai.onnx.ml")
    with pytest.raises(ModelError, match=r"'trees': a tree ensemble has no weights .* instead"):
        prepare(path, Changes())
