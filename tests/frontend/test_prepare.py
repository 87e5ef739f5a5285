"""--cut, --head and --simplify: what becomes of the ONNX file, and of the network."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.frontend.models import (
    ROOT,
    SHARED,
    assert_close,
    model,
    node,
    run_onnx,
    saved,
    weights,
)
from tests.frontend.quantized_models import MADE, Builder
from tests.hostnet import HostNet
from tests.models import shared_only
from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import Changes, export_model, import_model, parse_head, prepare, simplify
from tinyodl.ops import layers_of
from tinyodl.project import manifest as manifests
from tinyodl.project.plan import UpdatePlan

LENET = ROOT / "tests" / "models" / "lenet_mnist_c8_bn.onnx"
FEATURES = "/8/Flatten"


def kept(prepared, folder: Path) -> Path:
    path = folder / "kept.onnx"
    path.write_bytes(prepared.data)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return path


def image(path: Path, seed: int = 0) -> np.ndarray:
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    sizes = [dimension.dim_value or 1 for dimension in shape]
    return np.random.default_rng(seed).normal(size=sizes).astype(np.float32)


def computes_the_same(prepared, folder: Path) -> np.ndarray:
    """The generated C and onnxruntime on the kept file; returns the output."""
    path = kept(prepared, folder)
    x = image(path)
    net = HostNet(prepared.graph, UpdatePlan(layers={}, loss="mse"), folder / "net")
    expected = run_onnx(path, x)
    assert_close(net.forward(x).reshape(expected.shape), expected)
    return expected


def test_without_changes_the_file_is_kept_as_it_is():
    assert prepare(LENET, Changes()).data == LENET.read_bytes()


class TestCut:
    def test_the_network_ends_with_the_node(self, tmp_path):
        prepared = prepare(LENET, Changes(cut=FEATURES))
        assert prepared.graph.outputs == ("/8/Flatten_output_0",)
        assert computes_the_same(prepared, tmp_path).shape == (1, 400)
        graph = onnx.load_from_string(prepared.data).graph
        assert not any(node.op_type == "Gemm" for node in graph.node)
        assert not any("9." in tensor.name or "11." in tensor.name for tensor in graph.initializer)

    def test_a_value_names_the_node_that_makes_it(self):
        by_node = prepare(LENET, Changes(cut=FEATURES))
        assert prepare(LENET, Changes(cut="/8/Flatten_output_0")).data == by_node.data

    def test_what_comes_after_may_be_anything(self, tmp_path):
        nodes = [node("MatMul", ["x", "w"], "a", "dense"), node("Relu", ["a"], "b", "act"),
                 node("Cos", ["b"], "c", "odd"), node("NonZero", ["c"], "y")]  # fmt: skip
        path = saved(model(nodes, [1, 3], {"w": weights(3, 2)}, rank=2), tmp_path)
        made = onnx.load(path)
        made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        onnx.save(made, path)
        with pytest.raises(ModelError, match=r"Cos 'odd'[^~]*NonZero[^~]*--cut 'act'"):
            prepare(path, Changes())
        computes_the_same(prepare(path, Changes(cut="act")), tmp_path)

    def test_inputs_that_nothing_needs_go_too(self, tmp_path):
        made = model([node("Relu", ["x"], "a", "first"), node("Add", ["a", "z"], "y")], [1, 3])
        made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]))
        prepared = prepare(saved(made, tmp_path), Changes(cut="first"))
        assert prepared.graph.inputs == ("x",)

    def test_names_that_are_not_there(self):
        with pytest.raises(UserError, match=r"no node '/8/Flaten'.*'/8/Flatten'"):
            prepare(LENET, Changes(cut="/8/Flaten"))
        with pytest.raises(UserError, match="leave --output away"):
            prepare(LENET, Changes(cut=FEATURES, output="logits"))


class TestHead:
    def test_behind_a_cut(self, tmp_path):
        prepared = prepare(LENET, Changes(cut=FEATURES, head=parse_head("dense:64,10")))
        assert prepared.head == ("head.dense1", "head.dense2")
        assert computes_the_same(prepared, tmp_path).shape == (1, 10)

    def test_in_the_place_of_the_last_dense_layer(self, tmp_path):
        prepared = prepare(LENET, Changes(head=parse_head("dense:26")))
        assert computes_the_same(prepared, tmp_path).shape == (1, 26)
        last = prepared.graph.producer[prepared.graph.outputs[0]]
        assert last.inputs[0] == "/10/Relu_output_0"

    @pytest.mark.parametrize("tail", ["none", "add", "softmax"])
    def test_the_last_dense_layer_may_be_matmul_and_add_before_scores(self, tmp_path, tail):
        nodes = [node("Relu", ["x"], "r"), node("MatMul", ["r", "w"], "m")]
        last = "m"
        if tail != "none":
            nodes, last = [*nodes, node("Add", [last, "b"], "a")], "a"
        if tail == "softmax":
            nodes, last = [*nodes, node("Softmax", [last], "s")], "s"
        constants = {"w": weights(6, 3), "b": weights(3)}
        path = saved(model(nodes, ["N", 6], constants, output=last), tmp_path)
        prepared = prepare(path, Changes(head=parse_head("dense:5")))
        assert prepared.graph.producer[prepared.graph.outputs[0]].inputs[0] == "r"
        output = onnx.load_from_string(prepared.data).graph.output[0]
        assert output.type.tensor_type.shape.dim[0].dim_param == "N"

    def test_on_an_embedding(self, tmp_path):
        nodes = [node("Conv", ["x", "w"], "c"), node("GlobalAveragePool", ["c"], "y")]
        path = saved(model(nodes, [1, 2, 5, 5], {"w": weights(4, 2, 3, 3)}), tmp_path)
        prepared = prepare(path, Changes(head=parse_head("dense:3")))
        assert computes_the_same(prepared, tmp_path).shape == (1, 3)
        assert prepared.graph.shape(prepared.graph.tensors["head.dense1.weight"].name) == (3, 4)

    @shared_only
    @pytest.mark.parametrize(
        "name, changes, features",
        [
            ("omniglot_embed288", Changes(head=parse_head("dense:20")), 288),
            ("omniglot_embed288_bn", Changes(head=parse_head("dense:64,20"), simplify=True), 288),
            (
                "mbv2_w035_f32",
                Changes(cut="GlobalAveragePool_96", head=parse_head("dense:10")),
                112,
            ),
        ],
    )
    def test_on_the_embeddings_of_real_models(self, tmp_path, name, changes, features):
        prepared = prepare(SHARED / f"{name}.onnx", changes)
        computes_the_same(prepared, tmp_path)
        assert prepared.graph.shape("head.dense1.weight")[1] == features

    def test_weights_are_he_then_glorot_from_the_seed(self):
        def drawn(seed):
            graph = prepare(
                LENET, Changes(cut=FEATURES, head=parse_head("dense:64,10"), seed=seed)
            ).graph
            names = ("head.dense1.weight", "head.dense2.weight", "head.dense2.bias")
            return [graph.tensor(name).data for name in names]

        first, second, bias = drawn(0)
        for weight, limit in ((first, sqrt(6 / 400)), (second, sqrt(6 / (64 + 10)))):
            assert limit * 0.95 < np.abs(weight).max() <= limit
            assert abs(weight.mean()) < limit / 10
        assert not bias.any()
        assert np.array_equal(first, drawn(0)[0]) and not np.array_equal(first, drawn(1)[0])

    @pytest.mark.parametrize("spec", ["dense", "dense:", "dense:0", "conv:3", "dense:3,,4", "10"])
    def test_specifications_that_are_none(self, spec):
        with pytest.raises(UserError, match="as dense:10 or dense:64,10"):
            prepare(LENET, Changes(head=parse_head(spec)))


class TestQuantized:
    """Quantised models end in real numbers, and a fresh head is float32."""

    @pytest.mark.parametrize("kind", ["qdq", "qoperator uint8", "tf2onnx"])
    def test_a_head_in_the_place_of_the_last_dense_layer(self, tmp_path, kind):
        path = MADE[kind](tmp_path)
        whole, prepared = import_model(path), prepare(path, Changes(head=parse_head("dense:5")))
        assert computes_the_same(prepared, tmp_path).shape == (1, 5)
        layers = [n.op for n in layers_of(prepared.graph)]
        assert layers == ["QLinearConv"] * (len(layers_of(whole)) - 1) + ["Gemm"]

    @pytest.mark.parametrize("quantized", [False, True])
    def test_a_convolution_of_one_pixel_is_a_dense_layer(self, tmp_path, quantized):
        b = Builder("int8")
        x = b.rounded("x", 0.03, 5)
        pooled = b.rounded(b.add("GlobalAveragePool", x), 0.03, 4)
        steps = b.steps(b.scales(7), 0, "int8")
        w = b.add("DequantizeLinear", b.hold(b.integers("int8", 7, 4, 1, 1)), *steps, axis=0)
        y = b.add("Conv", pooled, w)
        if quantized:
            y = b.rounded(y, 0.1, 3)
        path = saved(b.built([1, 4, 5, 5], b.add("Flatten", y)), tmp_path)
        prepared = prepare(path, Changes(head=parse_head("dense:3")))
        assert prepared.graph.shape("head.dense1.weight") == (3, 4)
        assert [n.op for n in prepared.graph.nodes][:2] == [
            "QLinearAveragePool",
            "DequantizeLinear",
        ]
        computes_the_same(prepared, tmp_path)

    def test_a_convolution_of_a_map_is_an_embedding(self, tmp_path):
        nodes = [node("Conv", ["x", "w"], "y")]
        path = saved(model(nodes, [1, 2, 5, 5], {"w": weights(4, 2, 1, 1)}), tmp_path)
        prepared = prepare(path, Changes(head=parse_head("dense:3")))
        assert prepared.graph.shape("head.dense1.weight") == (3, 100)

    @pytest.mark.parametrize(
        "kind, cut, last",
        [
            ("torch", "n4", "v4"),  # a Conv: its Relu follows, so it is the float operator's output
            ("torch", "n5", "v7"),  # that Relu: behind the integers it is rounded to
            ("torch", "n16", "v18"),
            ("torch", "n6", "v7"),  # the QuantizeLinear
            ("qoperator", "/3/MaxPool", "/3/MaxPool_output_0_quantized.real"),
        ],
    )
    def test_cuts_end_in_real_numbers(self, tmp_path, kind, cut, last):
        prepared = prepare(MADE[kind](tmp_path), Changes(cut=cut))
        assert prepared.graph.outputs == (last,)
        assert prepared.graph.tensor(last).dtype == "float32"
        assert ("Conv" in {n.op for n in prepared.graph.nodes}) == (cut == "n4")
        computes_the_same(prepared, tmp_path)

    @shared_only
    @pytest.mark.parametrize("name, features", [("mcunet_5fps", 160), ("mbv2_w035", 112)])
    def test_a_head_on_the_pooled_features_of_real_models(self, name, features):
        prepared = prepare(SHARED / f"{name}_int8.onnx", Changes(head=parse_head("dense:10")))
        assert prepared.graph.shape("head.dense1.weight") == (10, features)
        kinds = {n.op for n in layers_of(prepared.graph)[:-1]}
        assert kinds == {"QLinearConv"}


class TestProjects:
    def test_only_the_head_learns_unless_asked_for_more(self, tmp_path):
        learned = {}
        for update in ("last", "bias", "full"):
            manifest = tinyodl.plan(LENET, "host", cut=FEATURES, head="dense:64,10", update=update)
            learned[update] = {r.name: r.updates for r in manifest.layers if r.updates != "none"}
        assert learned["last"] == {"head.dense1": "weights", "head.dense2": "weights"}
        assert list(learned["full"]) == [
            *("/0/Conv", "/1/BatchNormalization", "/4/Conv", "/5/BatchNormalization"),
            *("head.dense1", "head.dense2"),
        ]
        assert set(learned["bias"].values()) == {"bias"}

    def test_the_seed_reaches_the_head(self):
        ids = {tinyodl.plan(LENET, "host", head="dense:10", seed=seed).model.sha256
               for seed in (0, 0, 1)}  # fmt: skip
        assert len(ids) == 2

    def test_the_learned_head_is_exported(self, tmp_path):
        out = tmp_path / "project"
        tinyodl.compile(LENET, "host", out, cut=FEATURES, head="dense:10", learning_rate=0.1)
        manifest = manifests.load(out)
        rng = np.random.default_rng(5)
        learned = {
            record.name: rng.normal(size=record.shape).astype(np.float32)
            for record in manifest.parameters
            if record.origin is not None
        }
        export_model(out, manifest, learned, tmp_path / "learned.onnx")
        exported = onnx.load(tmp_path / "learned.onnx")
        onnx.checker.check_model(exported, full_check=True)
        held = {t.name: numpy_helper.to_array(t) for t in exported.graph.initializer}
        assert all(np.array_equal(held[name], value) for name, value in learned.items())
        assert run_onnx(tmp_path / "learned.onnx", image(LENET)).shape == (1, 10)


def test_a_fresh_head_learns(tmp_path):
    prepared = prepare(LENET, Changes(cut=FEATURES, head=parse_head("dense:16,4")))
    plan = UpdatePlan(layers=dict.fromkeys(prepared.head, "weights"), learning_rate=0.02)
    net = HostNet(prepared.graph, plan, tmp_path)
    losses = [net.train(image(LENET, step % 4), step % 4) for step in range(80)]
    assert np.mean(losses[-4:]) < 0.1 * np.mean(losses[:4])


class TestSimplify:
    def branching(self, folder: Path) -> Path:
        """A model whose If has a constant condition, as exporters leave it behind."""
        then = helper.make_graph(
            [node("Relu", ["x"], "t")],
            "then",
            [],
            [helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 4])],
        )
        other = helper.make_graph(
            [node("Neg", ["x"], "e")],
            "else",
            [],
            [helper.make_tensor_value_info("e", TensorProto.FLOAT, [1, 4])],
        )
        branch = helper.make_node("If", ["yes"], ["b"], "if", then_branch=then, else_branch=other)
        nodes = [branch, node("MatMul", ["b", "w"], "y", "dense")]
        constants = {"yes": np.asarray(True), "w": weights(4, 3)}
        return saved(model(nodes, [1, 4], constants, rank=2), folder)  # fmt: skip

    def test_folds_what_the_import_cannot(self, tmp_path):
        path = self.branching(tmp_path)
        with pytest.raises(ModelError, match=r"If 'if'[^~]*--simplify"):
            prepare(path, Changes())
        prepared = prepare(path, Changes(simplify=True))
        found = computes_the_same(prepared, tmp_path)
        assert_close(found, run_onnx(path, image(path)))

    def test_the_first_node_that_computes_something_else_is_named(self, tmp_path, monkeypatch):
        nodes = [node("Relu", ["x"], "a", "one"), node("MatMul", ["a", "w"], "b", "two"),
                 node("Relu", ["b"], "y", "three")]  # fmt: skip
        path = saved(model(nodes, [1, 4], {"w": weights(4, 4)}), tmp_path)

        def wrong(made, source):
            copy = onnx.ModelProto()
            copy.CopyFrom(made)
            changed = numpy_helper.to_array(copy.graph.initializer[0]) * np.float32(1.001)
            copy.graph.initializer[0].CopyFrom(numpy_helper.from_array(changed, "w"))
            return copy

        monkeypatch.setattr(simplify, "simplified", wrong)
        with pytest.raises(ModelError, match=r"node 'two' \(MatMul\) computes another 'b'"):
            prepare(path, Changes(simplify=True))
        assert prepare(path, Changes(simplify=True, check=False)).graph.nodes

    def test_what_onnxruntime_cannot_load(self, tmp_path):
        made = model([node("Odd", ["x"], "y", domain="some.where")], [1, 4], rank=2,
                     domains=["some.where"])  # fmt: skip
        with pytest.raises(ModelError, match=r"cannot simplify it.*without --simplify"):
            prepare(saved(made, tmp_path), Changes(simplify=True))


def test_the_check_draws_integers_where_the_input_is(tmp_path):
    b = Builder("int8")
    steps = b.steps(0.03, 5, "int8")
    b.add("Relu", b.add("DequantizeLinear", "x", *steps), output="r")
    b.add("Neg", "r", output="y")
    made = b.built([1, 4], "y")
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    prepared = prepare(saved(made, tmp_path), Changes(cut="r"))
    assert prepared.graph.tensor("x").dtype == "int8" and prepared.graph.outputs == ("r",)
