"""Quantised models: int8 layers are found, and make of integers what onnxruntime makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as functional
from onnx import TensorProto, helper, numpy_helper

from tests.frontend.interpreter import values_of
from tests.frontend.models import SHARED, saved
from tests.frontend.quantized_models import (
    MADE,
    Builder,
    as_integers_around_anything,
    as_torch_exports,
    with_shared_and_odd_parts,
)
from tests.hostnet import HostNet
from tests.models import shared_only
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.graph import Array, Graph, Quantization
from tinyodl.ops import output_shapes
from tinyodl.project.plan import UpdatePlan

QUANTIZED = sorted(SHARED.glob("*_int8.onnx"))
FLOAT = {"Conv", "Gemm", "Clip", "Relu", "Add", "AveragePool", "ReduceMean", "MaxPool"}


@dataclass
class Agreement:
    """How the int8 tensors of a graph compare with onnxruntime's, each made from the same."""

    elements: int = 0
    different: int = 0
    most: int = 0


def sample_of(graph: Graph, seed: int) -> Array:
    """Real numbers that reach all integers of the input."""
    entry = graph.tensor(graph.inputs[0])
    q = np.random.default_rng(seed).uniform(-128, 127, entry.shape)
    of = entry.quantization
    return ((q - of.zero_point) * of.scale[0]).astype(np.float32)


def compare(graph: Graph, path: Path, seeds: int = 3) -> Agreement:
    """Each int8 layer on onnxruntime's own inputs, against onnxruntime's output."""
    found = Agreement()
    for seed in range(seeds):
        x = sample_of(graph, seed)
        expected = integers_of_onnx(path, x)

        def replaced(name: str, value: Array, expected: dict[str, Array] = expected) -> Array:
            of = name.removesuffix(".map")  # a row of ONNX is a map of one pixel here
            if of not in expected:
                return value
            assert graph.tensor(name).dtype == "int8"
            made = expected[of].reshape(value.shape).astype(np.int64)
            off = np.abs(value - made)
            found.elements += off.size
            found.different += int(np.count_nonzero(off))
            found.most = max(found.most, int(off.max()))
            return made

        values_of(graph, x, instead=replaced)
    return found


def integers_of_onnx(path: Path, x: Array) -> dict[str, Array]:
    """All values of 8 bits that onnxruntime makes without optimisations, as int8."""
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output if name}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = (TensorProto.INT8, TensorProto.UINT8)
    found = [v for v in inferred if v.type.tensor_type.elem_type in kinds and v.name in made]
    del model.graph.output[:]
    model.graph.output.extend(found)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(None, {session.get_inputs()[0].name: x})
    return {
        v.name: (value.astype(np.int64) - 128 if value.dtype == np.uint8 else value)
        for v, value in zip(found, values, strict=True)
    }


def assert_generated_c_is_the_same(graph: Graph, folder: Path) -> None:
    """What the int8 kernels make is the interpreter's to the bit, so the float output is too."""
    net = HostNet(graph, UpdatePlan(loss="mse"), folder / "net")
    for seed in range(2):
        x = sample_of(graph, seed)
        expected = values_of(graph, x)[graph.outputs[0]]
        np.testing.assert_array_equal(net.forward(x), expected.astype(np.float32))


@shared_only
@pytest.mark.parametrize("path", QUANTIZED, ids=lambda path: path.stem)
def test_real_models(path: Path, tmp_path, record_property):
    graph = import_model(path)
    assert not FLOAT & {n.op for n in graph.nodes}
    found = compare(graph, path)
    record_property("agreement", str(found))
    print(path.stem, found)
    assert found.most <= 1 and found.different <= 1 + 1e-4 * found.elements
    if "mcunet" not in path.stem:  # as many kinds of layers as mbv2, and as long to compile
        assert_generated_c_is_the_same(graph, tmp_path)


@pytest.mark.parametrize("kind", MADE)
def test_every_exporters_form(kind, tmp_path):
    path = MADE[kind](tmp_path)
    graph = import_model(path)
    assert not FLOAT & {n.op for n in graph.nodes}
    assert {n.op for n in graph.nodes if n.op not in ("Reshape", "DequantizeLinear")} >= {
        "QLinearConv"
    }
    found = compare(graph, path)
    assert found.most <= 1 and found.different <= 1 + 3e-3 * found.elements, found  # ties, in steps
    assert_generated_c_is_the_same(graph, tmp_path)


def built(builder: Builder, shape: list[int], output: str, folder: Path) -> tuple[Graph, Path]:
    path = saved(builder.built(shape, output), folder)
    return import_model(path), path


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes if n.op != "Reshape"]


class TestLayers:
    def test_names_and_origins_are_those_of_the_float_operators(self, tmp_path):
        graph = import_model(saved(as_torch_exports(), tmp_path))
        layers = [n for n in graph.nodes if n.op == "QLinearConv"]
        assert [n.name for n in layers] == ["n4", "n10", "n16", "n34"]
        w, b = (graph.tensor(name) for name in layers[0].inputs[1:3])
        assert (w.dtype, b.dtype) == ("int8", "int32") and w.data.dtype == np.int8
        assert (w.origin.node, w.origin.slot, b.origin.node, b.origin.slot) == ("n4", 1, "n4", 2)
        assert w.origin.quantized == "v2" and b.origin.quantized is None
        assert graph.inputs == ("x",) and graph.tensor("x").dtype == "int8"

    def test_activations_are_bounds(self, tmp_path):
        graph = import_model(saved(as_torch_exports(), tmp_path))
        by_name = {n.name: n for n in graph.nodes}
        relu, relu6, plain = (by_name[name].attrs for name in ("n4", "n10", "n16"))
        assert (relu["low"], relu["high"], relu["pass_low"]) == (-128, 127, 0.0)
        assert (relu6["low"], relu6["high"]) == (-128, 127)
        assert relu6["pass_high"] == pytest.approx(6 / 0.0235)
        assert (plain["low"], plain["high"]) == (-128, 127) and plain["pass_low"] < -128

    def test_a_clamp_that_cuts_integers_off(self, tmp_path):
        b = Builder("int8")
        x = b.rounded("x", 0.03, 5)
        w = b.add(
            "DequantizeLinear", b.hold(b.integers("int8", 4, 2, 1, 1)), *b.steps(0.01, 0, "int8")
        )
        y = b.add("Conv", x, w)
        y = b.add("Relu", b.add("Clip", y, b.hold(np.float32(-1)), b.hold(np.float32(0.5))))
        graph, path = built(b, [1, 2, 3, 3], b.rounded(y, 0.02, -20), tmp_path)
        (layer,) = [n for n in graph.nodes if n.op == "QLinearConv"]
        assert (layer.attrs["low"], layer.attrs["high"]) == (-20, 5)
        assert compare(graph, path).most <= 1

    def test_layers_get_memory_to_lay_out_what_they_read(self, tmp_path):
        graph = import_model(saved(as_torch_exports(), tmp_path))
        layers = [n for n in graph.nodes if n.op == "QLinearConv"]
        for layer in layers:
            scratch = graph.tensor(layer.outputs[3])
            assert scratch.dtype == "int16"
            assert output_shapes(layer, graph)[3] == scratch.shape

    def test_a_normalisation_goes_into_the_scales(self, tmp_path):
        b = Builder("int8")
        held = {"bn.scale": np.float32([1, -2, 0.5]), "bn.bias": np.float32([0.1, 0.2, 0]),
                "bn.mean": np.float32([0, 0.1, -0.1]), "bn.var": np.float32([1, 2, 3])}  # fmt: skip
        b.held |= held
        x = b.rounded("x", 0.03, 5)
        q = np.maximum(b.integers("int8", 3, 2, 3, 3), -127)
        w = b.add("DequantizeLinear", b.hold(q), *b.steps(b.scales(3), 0, "int8"), axis=0)
        y = b.add("BatchNormalization", b.add("Conv", x, w), *held)
        graph, path = built(b, [1, 2, 5, 5], b.rounded(y, 0.05, 3), tmp_path)
        (layer,) = [n for n in graph.nodes if n.op == "QLinearConv"]
        sign = np.int8([1, -1, 1]).reshape(-1, 1, 1, 1)
        assert np.array_equal(graph.tensor(layer.inputs[1]).data, q * sign)
        found = compare(graph, path)
        assert found.most <= 1 and found.different <= 2

    def test_what_matches_nothing_stays_float_and_right(self, tmp_path):
        for build in (with_shared_and_odd_parts, as_integers_around_anything):
            qoperator = build is as_integers_around_anything
            path = build(tmp_path) if qoperator else saved(build(), tmp_path)
            graph = import_model(path)
            assert "Conv" in ops(graph) and "QLinearConv" not in ops(graph)
            found = compare(graph, path)
            assert found.most <= 1 and found.different <= 2
            assert_generated_c_is_the_same(graph, tmp_path / build.__name__)

    def test_sums_that_could_overflow_stay_float(self, tmp_path):
        b = Builder("int8")
        steps = b.steps(1e-4, 0, "int8")
        w = b.add("DequantizeLinear", b.hold(b.integers("int8", 3, 6)), *steps)
        y = b.add("Gemm", b.rounded("x", 1e-3, 5), w, b.hold(np.float32([1e3, 1, 1])), transB=1)
        graph, _ = built(b, [1, 6], b.rounded(y, 1e-3, 3), tmp_path)
        assert "Gemm" in ops(graph)

    def test_a_maximum_that_is_clamped_or_rounded_otherwise(self, tmp_path):
        b = Builder("uint8")
        y = b.add("Relu", b.add("MaxPool", b.rounded("x", 0.03, 5), kernel_shape=[2, 2]))
        graph, path = built(b, [1, 2, 4, 4], b.rounded(y, 0.04, -100), tmp_path)
        assert ops(graph) == ["QLinearMaxPool", "QLinearLookup", "DequantizeLinear"]
        assert compare(graph, path).different == 0
        assert_generated_c_is_the_same(graph, tmp_path)


class TestInputs:
    def test_an_input_that_is_rounded_in_two_ways_stays_float(self, tmp_path):
        b = Builder("int8")
        y = b.add("Add", b.rounded("x", 0.03, 5), b.rounded("x", 0.05, 5))
        graph, _ = built(b, [1, 6], b.rounded(y, 0.1, 0), tmp_path)
        assert graph.tensor("x").dtype == "float32"
        assert ops(graph) == ["QuantizeLinear"] * 2 + ["QLinearAdd", "DequantizeLinear"]

    def test_rounded_twice_alike_it_is_one_tensor(self, tmp_path):
        b = Builder("uint8")
        first = b.add("Relu", b.rounded("x", 0.03, 5))
        second = b.rounded(b.add("Flatten", "x"), 0.03, 5)
        y = b.add("Add", b.rounded(first, 0.02, 1), second)
        graph, path = built(b, [1, 6], b.rounded(y, 0.1, 0), tmp_path)
        assert graph.tensor("x").quantization == Quantization((float(np.float32(0.03)),), 5)
        assert ops(graph) == ["QLinearLookup", "QLinearAdd", "DequantizeLinear"]
        assert compare(graph, path).most <= 1

    @pytest.mark.parametrize("kind", ["int8", "uint8"])
    def test_integers_in_and_out(self, tmp_path, kind):
        """A QOperator model without QuantizeLinear in front: the input is integers by itself."""
        b = Builder(kind)
        shift = 128 if kind == "uint8" else 0
        x_steps, y_steps = b.steps(0.03, 5 + shift, kind), b.steps(0.05, -7 + shift, kind)
        w_steps = b.steps(b.scales(4), 0, "int8")
        w = b.integers("int8", 4, 2, 3, 3)
        w = b.hold(w // 2 if kind == "uint8" else w)  # as `by_onnxruntime` says
        bias = b.hold(b.integers("int32", 4))
        b.add("QLinearConv", "x", *x_steps, w, *w_steps, *y_steps, bias, output="y")
        element = TensorProto.DataType.Value(kind.upper())
        given = helper.make_tensor_value_info("x", element, [1, 2, 6, 6])
        wanted = helper.make_tensor_value_info("y", element, [1, 4, 4, 4])
        held = [numpy_helper.from_array(value, name) for name, value in b.held.items()]
        made = helper.make_model(
            helper.make_graph(b.nodes, "g", [given], [wanted], held),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        path = saved(made, tmp_path)
        graph = import_model(path)
        assert ops(graph) == ["QLinearConv", "DequantizeLinear"] and graph.outputs == ("y",)
        x = sample_of(graph, 0)
        q = graph.tensor("x").quantization.quantize(x)
        (expected,) = onnxruntime.InferenceSession(path.read_bytes()).run(
            None, {"x": (q.astype(np.int64) + shift).astype(kind)}
        )
        real = (expected.astype(np.float64) - shift + 7) * np.float32(0.05)
        assert np.abs(values_of(graph, x)[graph.outputs[0]] - real).max() < 0.0501


FUNCTIONS = {
    "Relu": (torch.relu, {}),
    "LeakyRelu": (lambda x: functional.leaky_relu(x, 0.2), {"alpha": 0.2}),
    "Sigmoid": (torch.sigmoid, {}),
    "Tanh": (torch.tanh, {}),
    "HardSigmoid": (functional.hardsigmoid, {"alpha": 1 / 6, "beta": 0.5}),
    "HardSwish": (functional.hardswish, {}),
    "Elu": (functional.elu, {}),
    "Softplus": (functional.softplus, {}),
    "Softsign": (functional.softsign, {}),
    "Mish": (functional.mish, {}),
    "Erf": (torch.erf, {}),
    "Abs": (torch.abs, {}),
    "Neg": (torch.neg, {}),
    "Exp": (torch.exp, {}),
}


class TestTables:
    @pytest.mark.parametrize("op", FUNCTIONS)
    def test_one_operator(self, tmp_path, op):
        function, attrs = FUNCTIONS[op]
        b = Builder("int8", opset=18)
        y = b.add(op, b.rounded("x", 0.031, -3), **attrs)
        self.check(*built(b, [1, 300], b.rounded(y, 0.0237, 20), tmp_path), function)

    def test_several_operators_that_meet_again(self, tmp_path):
        """x * clip(x + 3, 0, 6) / 6, as exporters write it out."""
        b = Builder("uint8")
        x = b.rounded("x", 0.05, 11)
        inner = b.add("Add", x, b.hold(np.float32(3)))
        inner = b.add("Clip", inner, b.hold(np.float32(0)), b.hold(np.float32(6)))
        y = b.add("Div", b.add("Mul", x, inner), b.hold(np.float32(6)))
        self.check(*built(b, [1, 300], b.rounded(y, 0.041, -100), tmp_path), functional.hardswish)

    def test_other_steps(self, tmp_path):
        b = Builder("int8")
        graph, path = built(b, [1, 300], b.rounded(b.rounded("x", 0.05, 11), 0.03, 4), tmp_path)
        self.check(graph, path, lambda x: x)

    def check(self, graph: Graph, path: Path, function) -> None:
        """The table is what onnxruntime makes, the slopes are PyTorch's."""
        assert ops(graph) == ["QLinearLookup", "DequantizeLinear"]
        found = compare(graph, path)
        assert found.most <= 1 and found.different <= 3
        x, _, slopes = graph.nodes[0].inputs
        of_x, of_y = (graph.tensor(n).quantization for n in (x, graph.nodes[0].outputs[0]))
        q = torch.arange(-128, 128, dtype=torch.float64)
        real = ((q - of_x.zero_point) * of_x.scale[0]).requires_grad_()
        fake = torch.fake_quantize_per_tensor_affine(
            function(real).float(), of_y.scale[0], of_y.zero_point, -128, 127
        )
        fake.sum().backward()
        np.testing.assert_allclose(graph.tensor(slopes).data, real.grad, rtol=1e-5, atol=1e-6)


class TestRefusals:
    def refuse(self, folder: Path, build, *words: str) -> None:
        b = Builder("int8", opset=21)
        y = build(b)
        with pytest.raises(ModelError) as caught:
            import_model(saved(b.built([1, 6], y), folder))
        for word in words:
            assert word in str(caught.value), caught.value

    def test_other_integers(self, tmp_path):
        def build(b: Builder) -> str:
            b.kind = "int16"
            return b.rounded("x", 0.1, 0)

        self.refuse(tmp_path, build, "QuantizeLinear 'n0'", "int16", "int8 and uint8")

    def test_a_scale_for_each_index_of_another_axis(self, tmp_path):
        def build(b: Builder) -> str:
            x = b.add("Reshape", "x", b.hold(np.int64([1, 2, 3])))
            steps = b.steps(b.scales(3), 0, "int8")
            q = b.add("QuantizeLinear", x, *steps, axis=2)
            return b.add("DequantizeLinear", q, *steps, axis=2)

        self.refuse(tmp_path, build, "a scale for each index of axis 2", "each channel (axis 1)")

    def test_several_zero_points_of_what_is_computed(self, tmp_path):
        def build(b: Builder) -> str:
            steps = b.steps(b.scales(6), np.arange(6), "int8")
            return b.add("DequantizeLinear", b.add("QuantizeLinear", "x", *steps), *steps)

        self.refuse(tmp_path, build, "several zero points", "one zero point")

    def test_integers_read_with_another_scale(self, tmp_path):
        def build(b: Builder) -> str:
            q = b.add("QuantizeLinear", "x", *b.steps(0.1, 0, "int8"))
            return b.add("DequantizeLinear", q, *b.steps(0.2, 0, "int8"))

        self.refuse(tmp_path, build, "DequantizeLinear 'n1'", "another scale or zero point")

    def test_a_scale_for_each_block(self, tmp_path):
        def build(b: Builder) -> str:
            steps = b.steps(np.full((1, 3), 0.1), 0, "int8")
            integers = b.add("QuantizeLinear", "x", *steps, axis=1, block_size=2)
            return b.add("DequantizeLinear", integers, *steps, axis=1, block_size=2)

        self.refuse(tmp_path, build, "QuantizeLinear 'n0'", "a scale for each block")

    def test_arithmetic_on_integers(self, tmp_path):
        def build(b: Builder) -> str:
            steps = b.steps(0.1, 0, "int8")
            q = b.add("QuantizeLinear", "x", *steps)
            return b.add("DequantizeLinear", b.add("Sign", q), *steps)

        self.refuse(tmp_path, build, "Sign 'n1'")
