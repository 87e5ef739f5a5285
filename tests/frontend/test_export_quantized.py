"""What int8 layers learned, written back: onnxruntime then computes what the generated C does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tinyodl
from tests.frontend.models import SHARED, run_onnx, saved
from tests.frontend.quantized_models import (
    MADE,
    Builder,
    as_integers_around_anything,
    as_tf2onnx_exports,
    as_torch_exports,
    with_shared_and_odd_parts,
)
from tests.frontend.test_quantized import sample_of
from tests.hostnet import HostNet
from tests.models import ROOT, shared_only
from tinyodl.errors import ModelError
from tinyodl.frontend import Changes, export_model, import_model, prepare
from tinyodl.graph import Array, Storage
from tinyodl.ops import biases_of, layers_of
from tinyodl.project import manifest as manifests
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan


class Project:
    """A compiled model whose parameters can be set, in the generated C and for the export."""

    def __init__(self, folder: Path, path: Path, layers: dict[str, object]) -> None:
        self.path, self.folder, self.out = path, folder / "project", folder / "learned.onnx"
        plan = UpdatePlan.model_validate({"layers": layers, "loss": "mse"})
        (folder / "plan.toml").write_text(dump_plan(plan))
        tinyodl.compile(path, "host", self.folder, update=str(folder / "plan.toml"))
        self.manifest = manifests.load(self.folder)
        self.graph = prepare(path, Changes()).under(plan)
        self.net = HostNet(self.graph, plan, folder / "net")

    def learn(self, seed: int = 0) -> dict[str, Array]:
        """Other values for all parameters, which the generated C now has too."""
        rng = np.random.default_rng(seed)
        learned = {}
        for tensor in self.net.parameters:
            if tensor.storage is not Storage.PARAMETER:
                continue
            value = moved(self.net.parameter(tensor.name), rng)
            self.net.write_parameter(tensor.name, value)
            learned[tensor.name] = value
        return learned

    def export(self, learned: dict[str, Array]) -> onnx.ModelProto:
        export_model(self.folder, self.manifest, learned, self.out)
        exported = onnx.load(self.out)
        onnx.checker.check_model(exported, full_check=True)
        return exported

    def round_trip(self) -> onnx.ModelProto:
        """Learn, export, and compare the file with the generated C: one step of the output apart.

        A sum that is just between two integers may be rounded to either; layers later that is one.
        """
        exported = self.export(self.learn())
        step = self.graph.tensor(self.graph.producer[self.graph.outputs[0]].inputs[0])
        for seed in range(3):
            x = sample_of(self.graph, seed)
            expected = run_onnx(self.out, x)
            off = np.abs(self.net.forward(x) - expected) / step.quantization.scale[0]
            assert off.max() < 1.01 and np.count_nonzero(off > 0.01) <= 2
            assert np.abs(run_onnx(self.path, x) - expected).max() > 0
        return exported


def moved(value: Array, rng: np.random.Generator) -> Array:
    """Other values, of int8 weights within the range of theirs: see `by_onnxruntime`."""
    if value.dtype == np.int8:
        steps = rng.integers(-20, 21, value.shape)
        return np.clip(value.astype(int) + steps, value.min(), value.max()).astype(np.int8)
    if value.dtype == np.int16:
        return rng.integers(-600, 600, value.shape).astype(np.int16)
    return (value + rng.normal(0, 0.05, value.shape)).astype(np.float32)


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("what", ["weights", "bias"])
def test_learned_integers_are_written_back(tmp_path, kind, what):
    path = MADE[kind](tmp_path)
    graph = import_model(path)
    layers = [n.name for n in layers_of(graph) if what == "weights" or biases_of(n, graph)]
    project = Project(tmp_path, path, dict.fromkeys(layers, what))
    exported = project.round_trip()
    if kind == "torch":
        return  # its weights and biases are float32 in the file
    before, after = constants(onnx.load(path)), constants(exported)
    assert before.keys() == after.keys()
    assert [n.SerializeToString() for n in onnx.load(path).graph.node] == [
        n.SerializeToString() for n in exported.graph.node
    ]
    changed = [n for n in before if before[n].SerializeToString() != after[n].SerializeToString()]
    assert len(changed) == len(layers) * (2 if what == "weights" else 1)
    for name in changed:
        assert before[name].data_type == after[name].data_type != onnx.TensorProto.FLOAT
        assert before[name].dims == after[name].dims


def test_weights_that_nodes_round_become_integers(tmp_path):
    path = saved(as_torch_exports(), tmp_path)
    (dense,) = [n for n in layers_of(import_model(path)) if n.name == "n34"]
    project = Project(tmp_path, path, {dense.name: "weights"})
    exported = project.round_trip()
    assert len(exported.graph.node) == len(onnx.load(path).graph.node) - 1
    (made,) = constants(exported).keys() - constants(onnx.load(path)).keys()
    assert constants(exported)[made].data_type == onnx.TensorProto.INT8


@pytest.mark.parametrize(
    "layer, update",
    [
        ("n4", {"outputs": [1, 4]}),
        ("n4", {"inputs": [0, 2]}),
        ("n10", {"outputs": [0, 3, 5]}),
        ("n10", {"inputs": [2]}),
        ("n34", {"inputs": [3, 4, 20]}),
    ],
    ids=str,
)
def test_some_channels(tmp_path, layer, update):
    """n4 is a convolution, n10 a depthwise one, n34 a dense layer."""
    path = saved(as_torch_exports(), tmp_path)
    project = Project(tmp_path, path, {layer: update})
    project.round_trip()
    (node,) = [n for n in project.graph.nodes if n.name == layer]
    before = project.graph.tensor(node.inputs[1]).data
    (node,) = [n for n in import_model(project.out).nodes if n.name == layer]
    after = import_model(project.out).tensor(node.inputs[1]).data
    axis = 1 if "inputs" in update and before.shape[1] > 1 else 0
    same = (before == after).all(axis=tuple(a for a in range(4) if a != axis))
    (chosen,) = update.values()
    assert set(np.flatnonzero(~same)) == set(chosen)


@pytest.mark.parametrize("build", [with_shared_and_odd_parts, as_integers_around_anything])
def test_layers_that_stayed_float_become_float_in_the_file(tmp_path, build):
    qoperator = build is as_integers_around_anything
    path = build(tmp_path) if qoperator else saved(build(), tmp_path)
    layers = [n.name for n in layers_of(import_model(path)) if n.op in ("Conv", "Gemm")]
    exported = Project(tmp_path, path, dict.fromkeys(layers, "weights")).round_trip()
    nodes = [n for n in exported.graph.node if n.op_type in ("Conv", "Gemm")]
    assert len(nodes) == len(layers)
    for node in nodes:
        assert all(
            constants(exported)[name].data_type == onnx.TensorProto.FLOAT for name in node.input[1:]
        )


@pytest.mark.parametrize("given", ["nothing", "equal values"])
def test_without_learning_the_file_is_a_copy(tmp_path, given):
    path = saved(as_tf2onnx_exports(), tmp_path)
    names = [n.name for n in layers_of(import_model(path))]
    project = Project(tmp_path, path, dict.fromkeys(names, "weights"))
    equal = {
        t.name: project.net.parameter(t.name)
        for t in project.net.parameters
        if t.storage is Storage.PARAMETER
    }
    project.export(equal if given == "equal values" else {})
    assert project.out.read_bytes() == path.read_bytes()


def test_integers_that_others_read_are_kept_for_them(tmp_path):
    """A second layer reads the same integers transposed: it is no int8 layer's own, but whole."""
    b = Builder("int8")
    steps = b.steps(0.01, 0, "int8")
    weight = b.add("DequantizeLinear", b.hold(b.integers("int8", 5, 5)), *steps)
    x = b.rounded("x", 0.03, 5)
    a = b.rounded(b.add("Gemm", x, weight, transB=1), 0.05, 2)
    y = b.rounded(b.add("Gemm", a, weight), 0.1, 1)
    path = saved(b.built([1, 5], y), tmp_path)
    first, second = layers_of(import_model(path))
    assert first.op == second.op == "QLinearConv"
    project = Project(tmp_path, path, {second.name: "weights"})
    exported = project.round_trip()
    again = import_model(project.out)
    kept, learned = layers_of(again)
    assert np.array_equal(again.tensor(kept.inputs[1]).data, weight_of(path, 0))
    assert not np.array_equal(again.tensor(learned.inputs[1]).data, weight_of(path, 1))
    assert len(exported.graph.node) == len(onnx.load(path).graph.node) + 1


def weight_of(path: Path, layer: int) -> Array:
    graph = import_model(path)
    return graph.tensor(layers_of(graph)[layer].inputs[1]).data


def dead_channel(form: str) -> onnx.ModelProto:
    """A dense layer whose first output has next to no scale, and a bias at the end of int32."""
    b = Builder("int8")
    scales = np.float32([4e-9, 0.01, 0.02])
    weight = b.hold(b.integers("int8", 3, 6))
    bias = b.hold(np.int32([2**31 - 1, 40, -700]))
    w_steps, b_steps = b.steps(scales, 0, "int8"), b.steps(scales * np.float32(0.03), 0, "int32")
    x = b.rounded("x", 0.03, 5)
    w = b.add("DequantizeLinear", weight, *w_steps, axis=0)
    y = b.add("Gemm", x, w, b.add("DequantizeLinear", bias, *b_steps, axis=0), transB=1)
    return b.built([1, 6], b.rounded(y, 0.1, 3))


def test_a_bias_beyond_int32_becomes_float(tmp_path):
    path = saved(dead_channel("qdq"), tmp_path)
    (layer,) = layers_of(import_model(path))
    assert layer.op == "QLinearConv"
    project = Project(tmp_path, path, {layer.name: "bias"})
    (name,) = project.learn()
    exported = project.export({name: np.int16([256, 0, -512])})
    (gemm,) = [n for n in exported.graph.node if n.op_type == "Gemm"]
    bias = numpy_helper.to_array(constants(exported)[gemm.input[2]])
    real = np.float64([2**31 - 1, 40, -700]) * np.float32([4e-9, 0.01, 0.02]) * np.float32(0.03)
    assert bias.dtype == np.float32
    np.testing.assert_allclose(bias, real + np.float64([0.1, 0, -0.2]), rtol=1e-2)


@shared_only
def test_a_published_scheme_with_a_head(tmp_path):
    """Every weight and bias of MCUNet is in the file what the board has."""
    path, plan = SHARED / "mcunet_5fps_int8.onnx", ROOT / "examples/schemes/mcunet-5fps-49KB.toml"
    tinyodl.compile(path, "host", tmp_path / "project", head="dense:10", update=str(plan))
    manifest = manifests.load(tmp_path / "project")
    before = import_model(tmp_path / "project" / "model.onnx")
    rng = np.random.default_rng(0)
    learned = {
        record.name: moved(np.zeros(record.shape, record.dtype), rng)
        for record in manifest.parameters
        if record.storage is Storage.PARAMETER
    }
    export_model(tmp_path / "project", manifest, learned, tmp_path / "learned.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "learned.onnx"), full_check=True)
    after = import_model(tmp_path / "learned.onnx")
    layers = {n.name: n for n in before.nodes}
    assert [(n.op, n.name) for n in after.nodes] == [(n.op, n.name) for n in before.nodes]
    kinds = set()
    for record in manifest.parameters:
        if record.storage is not Storage.PARAMETER:
            continue
        node, value = layers[record.origin.node], learned[record.name]
        both = [(before, node), (after, {n.name: n for n in after.nodes}[node.name])]
        old, new = (g.tensor(n.inputs[record.origin.slot]).data for g, n in both)
        kinds.add((record.dtype, record.shape == old.shape))
        if record.dtype == "float32":
            assert np.array_equal(new, value)
            continue
        steps = [g.tensor(n.inputs[3]).data.astype(np.float64) for g, n in both]
        if record.dtype == "int16":
            off = new * steps[1] - old * steps[0] - value / 256
            assert (np.abs(off) <= 0.51 * steps[1] + 1e-5).all()  # the bias is in whole steps
            continue
        (layer,) = [each for each in manifest.layers if each.name == node.name]
        expected = old.copy()
        expected[:, list(layer.channels.chosen)] = value
        alive = steps[0] == steps[1]  # dead channels may come back in coarser steps
        assert np.array_equal(new[alive], expected[alive]) and alive.mean() > 0.9
    assert kinds == {("int16", True), ("int8", False), ("float32", True)}


def test_values_of_the_wrong_shape_are_refused(tmp_path):
    path = saved(as_tf2onnx_exports(), tmp_path)
    project = Project(tmp_path, path, {"n5": "weights"})
    name, value = next(iter(project.learn().items()))
    with pytest.raises(ModelError, match=r"has the shape \(1,\), the model's is"):
        project.export({name: value.reshape(-1)[:1]})
