"""int8 from float32: what the host sends, and what --precision int8 makes of a model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.frontend.models import model, node, norm, norm_node, run_onnx, saved, weights
from tests.hostnet import HostNet
from tests.models import LARGE, ROOT, shared_only
from tests.models import name as model_name
from tests.projects import built
from tinyodl.errors import DataError, ModelError, UserError
from tinyodl.frontend import Changes, Prepared, export_model, parse_head, prepare, quantize
from tinyodl.frontend.runtime import session
from tinyodl.graph import Quantization
from tinyodl.project.manifest import load
from tinyodl.project.plan import UpdatePlan

DIGITS = ROOT / "tests" / "models" / "digits_mlp_64_32_10.onnx"
LENET = ROOT / "tests" / "models" / "lenet_mnist_c8_bn.onnx"
with np.load(ROOT / "tests" / "data" / "sklearn_digits_8x8.npz") as _digits:
    IMAGES = (_digits["x"].reshape(-1, 64) / 16).astype(np.float32)
    LABELS = _digits["y"]

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


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """200 of the digits, with labels, scaled as the network wants them."""
    path = tmp_path_factory.mktemp("samples") / "digits.npz"
    np.savez(path, x=IMAGES[:200], y=LABELS[:200])
    return path


def int8(path: Path, samples: Path, **changes) -> Prepared:
    return prepare(path, Changes(precision="int8", calibrate=samples, **changes))


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    return numpy_helper.to_array(held[name])


def same_inputs(folder: Path, *shape: int, count: int = 16) -> Path:
    path = folder / "noise.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(count, *shape)).astype(np.float32))
    return path


class TestQuantised:
    def test_weights_are_int8_around_zero_for_each_channel_and_activations_int8(self, samples):
        made = onnx.load_from_string(int8(DIGITS, samples).data)
        onnx.checker.check_model(made, full_check=True)
        gemms = [n for n in made.graph.node if n.op_type == "Gemm"]
        makers = {n.output[0]: n for n in made.graph.node}
        for gemm in gemms:
            x, w, b = (makers[name] for name in gemm.input)
            assert {x.op_type, w.op_type, b.op_type} == {"DequantizeLinear"}
            weight, scale, zero = (constant(made, name) for name in w.input)
            assert weight.dtype == np.int8 and scale.shape == weight.shape[:1] and not zero.any()
            assert constant(made, x.input[1]).shape == ()
            assert constant(made, x.input[2]).dtype == np.int8
            assert constant(made, b.input[0]).dtype == np.int32
        assert makers["logits"].op_type == "DequantizeLinear"

    def test_the_network_is_int8_from_the_input_to_the_last_layer(self, samples):
        graph = int8(DIGITS, samples).graph
        assert graph.tensor("input").dtype == "int8"
        ops = [n.op for n in graph.nodes if n.op != "Reshape"]
        assert ops == ["QLinearConv", "QLinearConv", "DequantizeLinear"]

    def test_it_still_knows_the_digits(self, samples, tmp_path):
        prepared = int8(DIGITS, samples)
        path = tmp_path / "int8.onnx"
        path.write_bytes(prepared.data)
        net = HostNet(prepared.graph, UpdatePlan(loss="mse"), tmp_path / "net")
        right = {"float32": 0, "int8": 0}
        for x, label in zip(IMAGES[1300:1500], LABELS[1300:1500], strict=True):
            found, expected = net.forward(x[None]), run_onnx(path, x[None])
            step = constant(onnx.load(path), "logits_scale")
            assert np.abs(found.reshape(-1) - expected.reshape(-1)).max() <= step * 1.001
            right["int8"] += found.argmax() == label
            right["float32"] += run_onnx(DIGITS, x[None]).argmax() == label
        assert right["int8"] >= right["float32"] - 2 and right["float32"] > 180

    def test_the_cost_is_what_onnxruntime_says_of_both_models(self, samples, tmp_path):
        prepared = int8(DIGITS, samples)
        path = tmp_path / "int8.onnx"
        path.write_bytes(prepared.data)
        expected = np.array([run_onnx(DIGITS, x[None])[0] for x in IMAGES[:200]])
        found = np.array([run_onnx(path, x[None])[0] for x in IMAGES[:200]])
        cost = prepared.calibration
        assert (cost.samples, cost.count, cost.real_operators) == ("digits.npz", 200, ())
        error = np.abs(found - expected).mean()
        assert cost.error == pytest.approx(error / np.abs(expected).mean(), rel=1e-3)
        assert cost.steps == pytest.approx(error / constant(onnx.load(path), "logits_scale"), 1e-3)
        assert cost.agreement == (found.argmax(1) == expected.argmax(1)).mean() > 0.98

    def test_the_same_file_and_samples_give_the_same_bytes_in_every_process(self, samples):
        script = (
            "import hashlib, sys; from pathlib import Path\n"
            "from tinyodl.frontend import Changes, prepare\n"
            "made = prepare(Path(sys.argv[1]), Changes(precision='int8', "
            "calibrate=Path(sys.argv[2])))\n"
            "print(hashlib.sha256(made.data).hexdigest())"
        )
        digests = set()
        for seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", script, DIGITS, samples], capture_output=True, text=True,
                check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            digests.add(done.stdout)
            assert done.stderr == ""
        assert len(digests) == 1

    def test_nothing_is_printed_and_no_file_is_left(self, samples, tmp_path, monkeypatch, capfd):
        path = tmp_path / "model.onnx"
        path.write_bytes(LENET.read_bytes())
        noise = same_inputs(tmp_path, 1, 28, 28)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        int8(path, noise)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "noise.npz"]
        assert capfd.readouterr() == ("", "")

    def test_csv_will_do_and_labels_are_not_needed(self, samples, tmp_path):
        np.savez(tmp_path / "digits.npz", x=IMAGES[:200])
        rows = np.concatenate([IMAGES[:200], LABELS[:200, None]], axis=1)
        np.savetxt(tmp_path / "digits.csv", rows, "%.9g", ",")
        expected = int8(DIGITS, samples).data
        assert int8(DIGITS, tmp_path / "digits.npz").data == expected
        assert int8(DIGITS, tmp_path / "digits.csv").data == expected


class TestWhatIsQuantised:
    def test_batch_normalization_is_folded_first(self, tmp_path):
        nodes = [
            node("Conv", ["x", "k"], "c", "conv"), norm_node("c", "n", "first"),
            node("Relu", ["n"], "r", "relu"), node("Flatten", ["r"], "f", "flat"),
            node("Gemm", ["f", "w"], "g", "gemm", transB=1), norm_node("g", "y", "second"),
        ]  # fmt: skip
        constants = {
            "k": weights(3, 1, 3, 3), "w": weights(5, 12), **norm(3, "first"), **norm(5, "second"),
        }  # fmt: skip
        path = saved(model(nodes, ["N", 1, 4, 4], constants), tmp_path)
        prepared = int8(path, same_inputs(tmp_path, 1, 4, 4))
        ops = {n.op for n in prepared.graph.nodes}
        assert ops <= {"QLinearConv", "Reshape", "DequantizeLinear"}
        assert prepared.calibration.real_operators == () and prepared.calibration.error < 0.05

    def test_what_onnxruntime_does_not_quantise_stays_in_float32(self, tmp_path):
        nodes = [node("Gemm", ["x", "w"], "g", "gemm"), node("Softmax", ["g"], "y", "scores")]
        path = saved(model(nodes, [1, 6], {"w": weights(6, 3)}, rank=2), tmp_path)
        prepared = int8(path, same_inputs(tmp_path, 6))
        assert prepared.graph.nodes[-1].op == "Softmax"
        assert prepared.calibration.real_operators == ("Softmax",)
        assert prepared.calibration.steps is None

    def test_a_fresh_head_stays_float32_on_dequantised_features(self, samples):
        prepared = int8(DIGITS, samples, head=parse_head("dense:16,4"))
        ops = [n.op for n in prepared.graph.nodes if n.op != "Reshape"]
        assert ops == ["QLinearConv", "DequantizeLinear", "Gemm", "Relu", "Gemm"]
        assert prepared.graph.shape(prepared.graph.outputs[0]) == (1, 4)
        assert prepared.calibration.agreement is None

    def test_a_cut_comes_first(self, tmp_path):
        prepared = int8(LENET, same_inputs(tmp_path, 1, 28, 28), cut="/8/Flatten")
        assert [n.op for n in prepared.graph.nodes].count("QLinearConv") == 2

    def test_one_of_several_outputs(self, tmp_path):
        nodes = [node("Gemm", ["x", "w"], "a", "one"), node("Gemm", ["a", "v"], "y", "two")]
        made = model(nodes, [1, 4], {"w": weights(4, 3), "v": weights(3, 2)})
        made.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 3]))
        path, noise = saved(made, tmp_path), same_inputs(tmp_path, 4)
        assert int8(path, noise, output="a").graph.outputs == ("a",)
        with pytest.raises(ModelError, match="has 2 outputs"):
            int8(path, noise)

    def test_old_opsets_are_converted(self, tmp_path):
        nodes = [node("Gemm", ["x", "w"], "g"), node("Relu", ["g"], "y")]
        path = saved(model(nodes, [1, 4], {"w": weights(4, 3)}, opset=11), tmp_path)
        prepared = int8(path, same_inputs(tmp_path, 4))
        assert onnx.load_from_string(prepared.data).opset_import[0].version == 13

    def test_several_inputs_each_have_their_scale(self, tmp_path):
        nodes = [
            node("Gemm", ["x", "w"], "a", "one"), node("Gemm", ["z", "v"], "b", "two"),
            node("Add", ["a", "b"], "y", "sum"),
        ]  # fmt: skip
        made = model(nodes, [1, 4], {"w": weights(4, 3), "v": weights(2, 3)}, rank=2)
        made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2]))
        random = np.random.default_rng(0)
        x, z = random.normal(size=(9, 4)), 50 * random.normal(size=(9, 2))
        np.savez(tmp_path / "two.npz", x=x, z=z)
        graph = int8(saved(made, tmp_path), tmp_path / "two.npz").graph
        scales = [graph.tensor(name).quantization.scale[0] for name in ("x", "z")]
        ranges = [np.ptp(np.append(values.astype(np.float32), 0)) for values in (x, z)]
        np.testing.assert_allclose(scales, np.array(ranges) / 255, rtol=1e-6)


class TestRefused:
    def test_samples_and_precision_belong_together(self, samples):
        with pytest.raises(UserError, match=r"--precision int8 needs samples.*--calibrate"):
            prepare(DIGITS, Changes(precision="int8"))
        with pytest.raises(UserError, match="--calibrate is for --precision int8"):
            prepare(DIGITS, Changes(calibrate=samples))
        with pytest.raises(UserError, match="give float32 or int8"):
            prepare(DIGITS, Changes(precision="int4", calibrate=samples))

    def test_a_model_that_is_quantised_already(self, samples, tmp_path):
        path = tmp_path / "int8.onnx"
        path.write_bytes(int8(DIGITS, samples).data)
        with pytest.raises(
            ModelError, match=r"is quantised already \(node '.*' is a DequantizeLinear\)"
        ):
            int8(path, samples)

    def test_samples_that_do_not_fit(self, samples, tmp_path):
        with pytest.raises(DataError, match=r"x has shape \(200, 64\), the model needs \(N, 1, 28"):
            int8(LENET, samples)
        np.savez(tmp_path / "nan.npz", x=np.where(IMAGES[:3] > 0.9, np.nan, IMAGES[:3]))
        with pytest.raises(DataError, match="contains nan"):
            int8(DIGITS, tmp_path / "nan.npz")
        with pytest.raises(DataError, match="No such file"):
            int8(DIGITS, tmp_path / "none.npz")

    def test_a_network_without_layers(self, tmp_path):
        path = saved(model([node("Softmax", ["x"], "y")], [1, 4], rank=2), tmp_path)
        with pytest.raises(ModelError, match="has nothing to quantise"):
            int8(path, same_inputs(tmp_path, 4))

    def test_values_that_overflow_inside(self, tmp_path):
        constants = {"w": np.full((4, 3), 1e38, np.float32), "v": weights(3, 2)}
        np.savez(tmp_path / "big.npz", x=np.full((2, 4), 1e3))
        for last in (node("Gemm", ["g", "v"], "y"), node("Tanh", ["g"], "y")):
            nodes = [node("Gemm", ["x", "w"], "g"), last]
            path = saved(model(nodes, [1, 4], constants, rank=2), tmp_path)
            with pytest.raises(ModelError, match="not finite for some of the samples"):
                int8(path, tmp_path / "big.npz")

    def test_an_operator_that_the_quantiser_fails_on_is_an_error_of_the_model(
        self, samples, monkeypatch
    ):
        def fails(*arguments, **options):
            raise ValueError("no rule for\nthis operator")

        monkeypatch.setattr(quantize, "quantize_static", fails)
        with pytest.raises(ModelError, match="cannot quantise it: no rule for this operator"):
            int8(DIGITS, samples)


@pytest.fixture(scope="session")
def project(tmp_path_factory, samples) -> Path:
    """A host build whose input is int8, with a head that learns."""
    out = tmp_path_factory.mktemp("int8") / "digits"
    options = {"precision": "int8", "calibrate": samples, "head": "dense:10"}
    return built(DIGITS, "host", out, learning_rate=0.05, **options)


class TestProjects:
    def test_the_manifest_says_how_the_input_is_quantised(self, project):
        model = load(project).model
        record = model.input_quantization["input"]
        kept = onnx.load(project / "model.onnx")
        assert np.float32(record.scale) == constant(kept, "input_scale")
        assert (record.dtype, record.zero_point) == ("int8", constant(kept, "input_zero_point"))

    def test_the_board_gets_bytes_and_answers_as_onnxruntime(self, project):
        with tinyodl.Session(project, "host") as session:
            assert session.hello.input_bytes == 64
            for x in IMAGES[200:220]:
                expected = run_onnx(project / "model.onnx", x[None])
                np.testing.assert_allclose(session.infer(x[None]), expected, rtol=1e-4, atol=1e-5)

    def test_the_head_learns_from_a_stream_and_is_exported(self, project, tmp_path):
        with tinyodl.Session(project, "host") as session:
            summary = session.train(
                IMAGES[200:600], LABELS[200:600], shuffle=0, run=tmp_path / "run",
                eval=(IMAGES[1300:1500], LABELS[1300:1500]),
            )  # fmt: skip
            session.export(tmp_path / "learned.onnx")
            found = session.infer(IMAGES[:1])
        assert summary.accuracy_before < 0.5 and summary.accuracy_after > 0.9
        expected = run_onnx(tmp_path / "learned.onnx", IMAGES[:1])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_without_learning_the_export_is_the_quantised_file(self, project, tmp_path):
        export_model(project, load(project), {}, tmp_path / "same.onnx")
        assert (tmp_path / "same.onnx").read_bytes() == (project / "model.onnx").read_bytes()
        ops = {n.op_type for n in onnx.load(tmp_path / "same.onnx").graph.node}
        assert {"QuantizeLinear", "DequantizeLinear"} <= ops


def test_an_int8_input_may_lie_before_a_float32_one(tmp_path):
    """3 bytes, then a float32 at a multiple of 4."""
    nodes = [
        node("Gemm", ["x", "w"], "a", "one"), node("Softmax", ["z"], "s", "scores"),
        node("Gemm", ["s", "v"], "b", "two"), node("Add", ["a", "b"], "y", "sum"),
    ]  # fmt: skip
    made = model(nodes, [1, 3], {"w": weights(3, 3), "v": weights(2, 3)}, rank=2)
    made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2]))
    random = np.random.default_rng(0)
    x, z = (random.normal(size=(9, size)).astype(np.float32) for size in (3, 2))
    np.savez(tmp_path / "two.npz", x=x, z=z)
    prepared = int8(saved(made, tmp_path), tmp_path / "two.npz")
    assert [prepared.graph.tensor(name).dtype for name in ("x", "z")] == ["int8", "float32"]
    net = HostNet(prepared.graph, UpdatePlan(loss="mse"), tmp_path / "net")
    running = session(onnx.load_from_string(prepared.data))
    step = constant(onnx.load_from_string(prepared.data), "y_scale")
    for index in range(9):
        given = (x[index : index + 1], z[index : index + 1])
        expected = running.run(None, dict(zip("xz", given, strict=True)))[0]
        assert np.abs(net.forward(given) - expected).max() <= step * 1.001


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "transposed Gemm"])
def test_a_dead_channel_leaves_room_for_its_sum_and_stays_int8(tmp_path, kind):
    """Weights of 1e-12 beside a bias of 1: onnxruntime puts the bias at the end of int32."""
    if kind == "Conv":
        w = weights(3, 2, 3, 3)
        w[1] *= 1e-12
        nodes, shape = [node("Conv", ["x", "w", "b"], "y", "layer")], (2, 5, 5)
    else:
        w = weights(3, 6)
        w[1] *= 1e-12
        transposed = int(kind != "Gemm")
        nodes, shape = [node("Gemm", ["x", "w", "b"], "y", "layer", transB=transposed)], (6,)
        w = w if transposed else np.ascontiguousarray(w.T)
    constants = {"w": w, "b": np.array([0.5, -1, 0.25], np.float32)}
    path = saved(model(nodes, [1, *shape], constants), tmp_path)
    prepared = int8(path, same_inputs(tmp_path, *shape))
    made = onnx.load_from_string(prepared.data)
    layer = next(n for n in made.graph.node if n.name == "layer")
    maker = next(n for n in made.graph.node if layer.input[2] in n.output)
    assert 2**29 < np.abs(constant(made, maker.input[0])[1].astype(float)) <= 2**30
    assert prepared.calibration.error < 0.02
    assert "QLinearConv" in {n.op for n in prepared.graph.nodes}
    x = np.random.default_rng(3).normal(size=(1, *shape)).astype(np.float32)
    net = HostNet(prepared.graph, UpdatePlan(loss="mse"), tmp_path / "net")
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(prepared.data)
    expected = run_onnx(kept, x)
    assert np.abs(net.forward(x) - expected).max() <= constant(made, "y_scale") * 1.001


@shared_only
@pytest.mark.parametrize("path", LARGE, ids=model_name)
def test_every_float_model_becomes_int8_without_a_layer_left_in_float32(tmp_path, path):
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]
    prepared = int8(path, same_inputs(tmp_path, *(d.dim_value for d in shape), count=4))
    ops = {n.op for n in prepared.graph.nodes}
    assert ops <= {
        *("QLinearConv", "QLinearAdd", "QLinearAveragePool", "QLinearMaxPool"),
        *("Reshape", "DequantizeLinear", "Softmax"),
    }
    assert prepared.graph.tensor(prepared.graph.inputs[0]).dtype == "int8"
    assert prepared.calibration.error < 0.2
