"""Learned weights, written back into the ONNX file, compute there what they compute in the IR."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests import fakes
from tests.frontend.interpreter import evaluate
from tests.frontend.models import (
    SHIPPED,
    assert_close,
    float_models,
    model,
    node,
    norm,
    norm_node,
    run_onnx,
    sample,
    weights,
)
from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import export_model, import_model
from tinyodl.graph import Array, Graph
from tinyodl.ops import layers_of
from tinyodl.project.manifest import Manifest, OriginRecord, ParameterRecord, Storage
from tinyodl.project.plan import UpdatePlan


class Project:
    """A project directory with a model and the manifest of a network whose constants all learn."""

    def __init__(
        self,
        folder: Path,
        made: onnx.ModelProto | Path,
        output: str | None = None,
        learning: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        data = made.read_bytes() if isinstance(made, Path) else made.SerializeToString()
        self.path = self.folder / "model.onnx"
        self.path.write_bytes(data)
        plan = UpdatePlan(layers=dict.fromkeys(learning, "weights"))
        self.graph = import_model(self.path, output, plan.learns)
        self.out = folder / "learned.onnx"
        self.manifest = manifest_of(self.graph, data).model_copy(update={"plan": plan})

    def learn(self, *names: str, seed: int = 3) -> dict[str, Array]:
        """New values for these constants, near the old ones."""
        rng = np.random.default_rng(seed)
        values = {name: self.graph.tensor(name).data for name in names}
        return {
            name: (value + rng.normal(0, 0.05, value.shape)).astype(np.float32)
            for name, value in values.items()
        }

    def export(self, learned: dict[str, Array]) -> onnx.ModelProto:
        export_model(self.folder, self.manifest, learned, self.out)
        exported = onnx.load(self.out)
        onnx.checker.check_model(exported, full_check=True)
        return exported

    def round_trip(self, learned: dict[str, Array]) -> onnx.ModelProto:
        """Export, and compare the file with the IR that has the learned values."""
        exported = self.export(learned)
        for seed in range(2):
            x = sample(self.graph, seed)
            assert_close(evaluate(self.graph, x, learned), run_onnx(self.out, x))
        return exported

    @property
    def original(self) -> onnx.ModelProto:
        return onnx.load(self.path)

    def layer(self, name: str) -> tuple[str, str]:
        """The names of a layer's weight and bias."""
        _, weight, bias = next(n for n in self.graph.nodes if n.name == name).inputs
        return weight, bias


def manifest_of(graph: Graph, data: bytes) -> Manifest:
    records = [
        ParameterRecord(
            index=index,
            name=tensor.name,
            shape=tensor.shape,
            dtype="float32",
            bytes=tensor.nbytes,
            storage=Storage.PARAMETER,
            origin=OriginRecord(**vars(tensor.origin)),
        )
        for index, tensor in enumerate(t for t in graph.constants.values() if t.origin)
    ]
    state = ParameterRecord(
        index=len(records), name="state", shape=(1,), dtype="float32", bytes=4,
        storage=Storage.STATE, origin=None,
    )  # fmt: skip
    whole = fakes.manifest()
    about = whole.model.model_copy(
        update={"sha256": hashlib.sha256(data).hexdigest(), "output_name": graph.outputs[0]}
    )
    made = whole.model_copy(update={"model": about, "parameters": (*records, state)})
    return Manifest.model_validate_json(made.model_dump_json())


def untouched(before: onnx.ModelProto, after: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the initializers, and outputs of the nodes, that have the same bytes in both."""
    held = {t.SerializeToString() for t in before.graph.initializer}
    nodes = {n.SerializeToString() for n in before.graph.node}
    return (
        {t.name for t in after.graph.initializer if t.SerializeToString() in held},
        {n.output[0] for n in after.graph.node if n.SerializeToString() in nodes},
    )


@pytest.mark.parametrize("path", float_models())
@pytest.mark.parametrize("what", ["all", "last"])
def test_real_models_round_trip(tmp_path, path, what):
    project = Project(tmp_path, path)
    layers = layers_of(project.graph)
    chosen = layers if what == "all" else layers[-1:]
    names = [name for layer in chosen for name in layer.inputs[1:] if name]
    exported = project.round_trip(project.learn(*names))
    if what == "all":
        assert "BatchNormalization" not in {n.op_type for n in exported.graph.node}
    else:
        kept, nodes = untouched(project.original, exported)
        assert len(kept) >= len(project.original.graph.initializer) - 6
        assert len(nodes) >= len(project.original.graph.node) - 2


@pytest.mark.parametrize("given", ["nothing", "equal values", "optimiser state"])
def test_what_did_not_learn_is_a_copy_of_the_file(tmp_path, given):
    project = Project(tmp_path, SHIPPED)
    learned = {
        "nothing": {},
        "equal values": {n: t.data for n, t in project.graph.constants.items()},
        "optimiser state": {"state": np.ones(1, np.float32)},
    }[given]
    project.export(learned)
    assert project.out.read_bytes() == project.path.read_bytes()


def test_only_the_layer_that_learned_changes(tmp_path):
    project = Project(tmp_path, SHIPPED)
    last = [n for n in project.graph.nodes if n.op == "Gemm"][-1]
    exported = project.round_trip(project.learn(*last.inputs[1:]))
    before = project.original
    kept, nodes = untouched(before, exported)
    assert {t.name for t in before.graph.initializer} - kept == set(last.inputs[1:])
    assert nodes == {n.output[0] for n in before.graph.node}
    assert [t.name for t in exported.graph.initializer] == [
        t.name for t in before.graph.initializer
    ]


NORMED = {"w": weights(4, 3, 3, 3), "b": weights(4)} | norm(4)


def normed(bias: bool, between: str = "") -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w", *(["b"] if bias else [])], "a", "conv")]
    if between:
        nodes.append(node(between, ["a"], "i"))
    nodes += [norm_node("i" if between else "a", "n"), node("Relu", ["n"], "y", "relu")]
    return model(nodes, [1, 3, 6, 6], NORMED)


@pytest.mark.parametrize("which", ["weight", "bias", "both"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("between", ["", "Identity"])
def test_a_folded_layer_is_written_whole_and_its_normalization_removed(
    tmp_path, which, bias, between
):
    project = Project(tmp_path, normed(bias, between))
    weight, offset = project.layer("conv")
    names = {"weight": [weight], "bias": [offset], "both": [weight, offset]}[which]
    exported = project.round_trip(project.learn(*names))
    made = [n.op_type for n in exported.graph.node]
    assert made == ["Conv", *([between] if between else []), "Relu"]
    assert not {t.name for t in exported.graph.initializer} & set(norm(4))
    assert (
        "relu" in {n.name for n in exported.graph.node}
        and "y" in untouched(project.original, exported)[1]
    )


def test_a_normalization_that_learned_stays(tmp_path):
    project = Project(tmp_path, normed(bias=True), learning=("bn",))
    learned = project.learn("w", "bn.scale", "bn.bias")
    exported = project.export(learned)
    assert [n.op_type for n in exported.graph.node] == ["Conv", "BatchNormalization", "Relu"]
    held = {t.name: numpy_helper.to_array(t) for t in exported.graph.initializer}
    assert held.keys() == NORMED.keys()
    for name, value in NORMED.items():
        assert np.array_equal(held[name], learned.get(name, value)), name


def test_a_normalization_at_the_output_keeps_the_outputs_name(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a", "dense"), norm_node("a", "y")]
    project = Project(tmp_path, model(nodes, [1, 3], {"w": weights(3, 4)} | norm(4)))
    exported = project.round_trip(project.learn(*project.layer("dense")))
    assert exported.graph.output[0].name == "y"
    assert [n.op_type for n in exported.graph.node] == ["MatMul", "Add"]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1), (), None], ids=str)
@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.3, -3.0), (2.0, 0.0)])
@pytest.mark.parametrize("after", ["Relu", "BatchNormalization", "Add"])
def test_gemm_in_all_its_forms(tmp_path, transposed, shape, alpha, beta, after):
    held = {"w": weights(5, 7) if transposed else weights(7, 5), "more": weights(5)} | norm(5)
    inputs = ["x", "w"]
    if shape is not None:
        held["c"] = weights(*shape)
        inputs.append("c")
    layer = node("Gemm", inputs, "a", "gemm", transB=transposed, alpha=alpha, beta=beta)
    last = {
        "Relu": node("Relu", ["a"], "y"),
        "BatchNormalization": norm_node("a", "y"),
        "Add": node("Add", ["a", "more"], "y", "add"),
    }[after]
    project = Project(tmp_path, model([layer, last], [1, 7], held))
    names = [name for name in project.layer("gemm") if name]
    project.round_trip(project.learn(*names))
    for name in names:
        project.round_trip(project.learn(name))


@pytest.mark.parametrize("shape", [(1, 7), (1, 1, 7)], ids=str)
def test_matmul_and_add_stay_and_get_their_learned_values(tmp_path, shape):
    nodes = [node("MatMul", ["x", "w"], "a", "dense"), node("Add", ["b", "a"], "y", "add")]
    project = Project(tmp_path, model(nodes, shape, {"w": weights(7, 5), "b": weights(5)}))
    exported = project.round_trip(project.learn(*project.layer("dense")))
    assert untouched(project.original, exported)[1] == {"a", "y"}
    assert [t.name for t in exported.graph.initializer] == ["w", "b"]


@pytest.mark.parametrize("which", ["weight", "bias", "both"])
@pytest.mark.parametrize("chain", ["MatMul Add bn", "MatMul bn Add", "Gemm Add bn Add",
                                   "MatMul Scalar bn", "Conv Add bn"])  # fmt: skip
def test_chains_behind_a_layer(tmp_path, chain, which):
    conv = chain.startswith("Conv")
    tail = (1, 1) if conv else ()
    held = {
        "w": weights(5, 7, 1, 1) if conv else weights(7, 5),
        "b": weights(5, *tail), "c": weights(1, 5, *tail), "s": np.float32(0.3),
    }  # fmt: skip
    nodes, value = [], "x"
    steps = chain.split()
    for index, step in enumerate(steps):
        output = f"v{index}" if index < len(steps) - 1 else "y"
        nodes.append(
            norm_node(value, output)
            if step == "bn"
            else node("Add", [value, "b" if index == 1 else "c"], output, f"add{index}")
            if step == "Add"
            else node("Add", ["s", value], output, f"add{index}")
            if step == "Scalar"
            else node(step, [value, "w"], output, "layer")
        )
        value = output
    shape = [1, 7, 2, 3] if conv else [1, 7]
    project = Project(tmp_path, model(nodes, shape, held | norm(5)))
    weight, bias = project.layer("layer")
    names = {"weight": [weight], "bias": [bias], "both": [weight, bias]}[which]
    project.round_trip(project.learn(*names))


def test_a_shared_initializer_that_learned_is_written_once(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a", "one"), node("MatMul", ["a", "w"], "y", "two")]
    project = Project(tmp_path, model(nodes, [1, 5], {"w": weights(5, 5)}))
    learned = project.learn("w")
    exported = project.round_trip(learned)
    (held,) = exported.graph.initializer
    assert np.array_equal(numpy_helper.to_array(held), learned["w"].T)


def test_a_shared_initializer_is_kept_for_a_use_that_is_another_parameter(tmp_path):
    """The third layer reads the same values transposed: they are no tied weight."""
    nodes = [
        node("MatMul", ["x", "w"], "a", "one"),
        node("MatMul", ["a", "w"], "b", "two"),
        node("Gemm", ["b", "w"], "y", "three", transB=1),
    ]
    project = Project(tmp_path, model(nodes, [1, 5], {"w": weights(5, 5)}))
    exported = project.round_trip(project.learn(project.layer("one")[0]))
    one, two, three = (each.input[1] for each in exported.graph.node)
    assert one == two != three == "w" and len(exported.graph.initializer) == 2


def test_what_two_layers_share_stays_shared_when_constants_are_folded(tmp_path):
    """One dense layer used twice, as PyTorch exports it: a product and the addition of a bias."""
    nodes = [
        node("MatMul", ["x", "w"], "a", "one"),
        node("Add", ["a", "b"], "c", "add_one"),
        node("Relu", ["c"], "d"),
        node("MatMul", ["d", "w"], "e", "two"),
        node("Add", ["b", "e"], "y", "add_two"),
    ]
    project = Project(tmp_path, model(nodes, [1, 5], {"w": weights(5, 5), "b": weights(5)}))
    assert project.layer("one") == project.layer("two")
    exported = project.round_trip(project.learn(*project.layer("one")))
    assert {t.name for t in exported.graph.initializer} == {"w", "b"}


def test_outputs_that_were_left_out_stay_as_they_are(tmp_path):
    """What cannot be compiled behind another output neither disturbs, nor is it lost."""
    nodes = [node("Conv", ["x", "w"], "c", "conv"), node("Relu", ["c"], "r"),
             node("Flatten", ["r"], "f"), node("Gemm", ["f", "v"], "y", "dense"),
             node("Sin", ["c"], "z")]  # fmt: skip
    held = {"w": weights(2, 1, 3), "v": weights(8, 3)}
    made = model(nodes, [1, 1, 6], held, rank=2)
    made.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 2, 4]))
    project = Project(tmp_path, made, output="y")
    exported = project.export(project.learn(*[n for n in project.layer("dense") if n]))
    assert [v.name for v in exported.graph.output] == ["y", "z"]
    kept, nodes = untouched(project.original, exported)
    assert kept == {"w"} and "z" in nodes


def test_one_dimensional_weights_get_their_shape_back(tmp_path):
    nodes = [node("Conv", ["x", "w"], "a", "conv", pads=[1, 1]), norm_node("a", "y")]
    project = Project(tmp_path, model(nodes, [1, 3, 12], {"w": weights(4, 3, 3)} | norm(4)))
    exported = project.round_trip(project.learn(*project.layer("conv")))
    assert [tuple(t.dims) for t in exported.graph.initializer] == [(4, 3, 3), (4,)]


def test_weights_made_by_nodes_are_replaced_by_an_initializer(tmp_path):
    constant = helper.make_node(
        "Constant", [], ["raw"], value=numpy_helper.from_array(weights(5, 7))
    )
    nodes = [constant, node("Transpose", ["raw"], "w"), node("MatMul", ["x", "w"], "y", "dense")]
    project = Project(tmp_path, model(nodes, [1, 7]))
    exported = project.round_trip(project.learn(project.layer("dense")[0]))
    assert [n.op_type for n in exported.graph.node] == ["MatMul"]
    assert len(exported.graph.initializer) == 1


def test_a_dynamic_batch_stays_dynamic(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "y", "dense")]
    project = Project(tmp_path, model(nodes, ["N", 7], {"w": weights(7, 5)}))
    exported = project.round_trip(project.learn("w"))
    assert exported.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert run_onnx(project.out, np.zeros((3, 7), np.float32)).shape == (3, 5)


def test_layers_inside_local_functions_are_written_into_the_inlined_graph(tmp_path):
    body = [node("MatMul", ["a", "m"], "p", "dense"), node("Relu", ["p"], "q")]
    function = helper.make_function(
        "own", "Block", ["a", "m"], ["q"], body, [helper.make_opsetid("", 17)]
    )
    calls = [
        node("Block", ["x", "w"], "h", domain="own"),
        node("Block", ["h", "v"], "y", domain="own"),
    ]
    made = model(calls, [1, 5], {"w": weights(5, 4), "v": weights(4, 3)}, domains=["own"], rank=2)
    made.functions.append(function)
    project = Project(tmp_path, made)
    exported = project.round_trip(project.learn("v"))
    assert [n.op_type for n in exported.graph.node] == ["MatMul", "Relu"] * 2
    assert untouched(made, exported)[0] == {"w"}


def test_metadata_and_dead_nodes_stay(tmp_path):
    made = normed(bias=False)
    made.producer_name, made.graph.doc_string = "somebody", "something"
    made.metadata_props.add(key="k", value="v")
    made.graph.node.append(node("Sin", ["n"], "dead"))
    project = Project(tmp_path, made)
    exported = project.round_trip(project.learn(*project.layer("conv")))
    assert exported.producer_name == "somebody" and exported.graph.doc_string == "something"
    assert exported.metadata_props[0].value == "v"
    assert [n.op_type for n in exported.graph.node] == ["Conv", "Relu", "Sin"]


def test_old_files_that_list_initializers_as_inputs(tmp_path):
    made = normed(bias=False)
    made.ir_version = 3
    for tensor in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    project = Project(tmp_path, made)
    exported = project.round_trip(project.learn(*project.layer("conv")))
    assert [value.name for value in exported.graph.input] == ["x", "w", "b"]


def test_the_same_learned_values_give_the_same_bytes(tmp_path):
    project = Project(tmp_path, normed(bias=True))
    learned = project.learn(*project.layer("conv"))
    project.export(learned)
    first = project.out.read_bytes()
    project.export(learned)
    assert project.out.read_bytes() == first


class TestRefusals:
    @pytest.fixture
    def project(self, tmp_path) -> Project:
        return Project(tmp_path, normed(bias=True))

    def refuse(self, project: Project, learned: dict, words: str, error=ModelError) -> None:
        project.out.write_bytes(b"what was there before")
        with pytest.raises(error, match=words):
            export_model(project.folder, project.manifest, learned, project.out)
        assert project.out.read_bytes() == b"what was there before"
        assert {p.name for p in project.out.parent.iterdir()} == {"project", "learned.onnx"}

    def test_another_model(self, project):
        data = project.path.read_bytes()
        project.path.write_bytes(data + b"\x00")
        self.refuse(project, {}, "sha256")

    def test_no_model(self, project):
        project.path.unlink()
        self.refuse(project, {}, "No such file")

    def test_a_parameter_that_nobody_knows(self, project):
        self.refuse(project, {"v": np.zeros(1)}, "'v' is not a parameter of the project.* w, ")

    def test_a_wrong_shape(self, project):
        self.refuse(project, {"w": np.zeros((4, 27))}, r"\(4, 27\).* \(4, 3, 3, 3\)")

    def test_weights_that_are_not_finite(self, project):
        learned = project.learn("w")
        learned["w"][0, 0, 0, 0] = np.nan
        self.refuse(project, learned, "diverged")

    def test_a_manifest_of_another_version(self, project):
        record = project.manifest.parameters[0]
        origin = record.origin.model_copy(update={"slot": 7})
        records = (record.model_copy(update={"origin": origin}), *project.manifest.parameters[1:])
        project.manifest = project.manifest.model_copy(update={"parameters": records})
        self.refuse(project, project.learn(record.name), "compile the project again")

    def test_a_full_disk_leaves_the_old_file(self, project):
        learned = project.learn("w")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(UserError, match="nothing was written"):
                export_model(project.folder, project.manifest, learned, project.out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [p.name for p in project.out.parent.iterdir()] == ["project"]

    def test_a_folder_that_is_not_there(self, project, tmp_path):
        out = tmp_path / "nowhere" / "learned.onnx"
        with pytest.raises(UserError, match="No such file"):
            export_model(project.folder, project.manifest, {}, out)
