"""What each node of a step costs: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.projects import WATCH, built, flat_model, image_model, require_arm_compiler
from tests.virtual.test_node_code import function_sizes
from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.errors import DataError, UserError
from tinyodl.files.built_here import remember_sources
from tinyodl.project import manifest as manifest_file
from tinyodl.runs.record import PHASES
from tinyodl.session.profiling import NodeCost, Profile
from tinyodl.virtual import Count

BOARD = "nrf52840_dk"


def bottleneck_model(path: Path) -> Path:
    """8 maps of 16 x 16, 32 in between, 8 again; then their averages and one Gemm."""
    random = np.random.default_rng(0)
    shapes = {"w0": (32, 8, 1, 1), "w1": (32, 1, 3, 3), "w2": (8, 32, 1, 1), "w3": (5, 8)}
    held = [
        numpy_helper.from_array((random.normal(size=shape) / 3).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    held += [
        numpy_helper.from_array(np.zeros(n, np.float32), f"b{i}")
        for i, n in enumerate((32, 32, 8, 5))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "wide"),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "depth", pads=[1] * 4, group=32),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "narrow"),
        helper.make_node("GlobalAveragePool", ["c2"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "dense", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 16, 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])]
    graph = helper.make_graph(nodes, "bottleneck", inputs, outputs, held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def int8_project(model: Path, shape: tuple[int, ...], folder: Path, **options: object) -> Path:
    require_arm_compiler()
    samples = folder / "samples.npz"
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    np.savez(samples, x=x, y=np.arange(8) % 5)
    return built(model, BOARD, folder / "project", precision="int8", calibrate=samples, **options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8, worked on row by row while it arrives; its last layer learns."""
    folder = tmp_path_factory.mktemp("image")
    return int8_project(image_model(folder / "image.onnx"), (3, 24, 24), folder)


@pytest.fixture(scope="module")
def bottleneck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8, gradients by channels; all biases learn."""
    folder = tmp_path_factory.mktemp("bottleneck")
    model = bottleneck_model(folder / "bottleneck.onnx")
    return int8_project(model, (8, 16, 16), folder, update="bias")


@pytest.fixture(scope="module", params=["watch_nrf_built", "image", "bottleneck"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = request.getfixturevalue(request.param)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("profiled") / "project"))


@pytest.fixture(scope="module")
def profile(project: Path) -> Profile:
    return tinyodl.profile(project)


def test_the_planner_estimates_what_is_counted(watch_nrf):
    """Before building, from shapes alone."""
    profile = tinyodl.profile(watch_nrf)
    estimate = profile.manifest.estimate
    assert estimate.none == ""
    assert estimate.step == pytest.approx(profile.step.cycles, rel=0.25)
    assert estimate.forward == pytest.approx(profile.total["forward"].cycles, rel=0.25)


def ordinary_step(project: Path) -> dict[str, Count]:
    """What the firmware's phases take without anybody looking into them; a sample of zeros."""
    manifest = manifest_file.load(project)
    transport = connect(project, "virtual")
    try:
        Client(transport, manifest).train(np.zeros(manifest.model.input_shape, np.float32), 0)
        return transport.counters()
    finally:
        transport.close()


def costs_of(profile: Profile, phase: str) -> Iterator[Count]:
    return (cost.count for cost in profile.nodes if cost.phase == phase)


def of(profile: Profile, op: str) -> NodeCost:
    (found,) = (cost for cost in profile.nodes if cost.node.op == op)
    return found


def test_the_nodes_make_up_what_the_ordinary_firmware_counts(project: Path, profile: Profile):
    expected = ordinary_step(project)
    for phase in PHASES:
        made = sum(costs_of(profile, phase), start=profile.between[phase])
        assert made == profile.total[phase] == expected[phase]
    assert profile.step == sum((expected[phase] for phase in PHASES), start=Count())


def test_little_is_between_nodes(profile: Profile):
    rows = profile.manifest.model.input_shape[2] if profile.manifest.model.input_by_rows else 0
    marks = {"forward": 2 + 2 * rows, "backward": 3 * 2, "update": 3 * 2}
    for phase in PHASES:
        assert profile.between[phase].instructions < 40 * marks[phase]


def test_every_node_that_multiplies_is_counted(profile: Profile):
    for cost in profile.nodes:
        if cost.node.macs and not cost.node.body:
            assert cost.node.macs < cost.count.instructions < cost.count.cycles
            assert cost.code_bytes > 0


def test_the_code_of_nodes_is_what_the_symbols_say(project: Path, profile: Profile):
    sizes = function_sizes(project / ".pio" / "build" / BOARD / "firmware.elf")
    parts = sum(size for name, size in sizes.items() if name.endswith("_part"))
    inside = [cost.code_bytes for cost in profile.nodes if cost.within]
    assert parts <= sum(inside) <= parts + 20 * len(inside)
    around = sum(sizes.get(name, 0) for name in ("forward", "net_train", "net_evaluate"))
    assert parts + around <= profile.code_bytes < sum(sizes.values())


def test_a_node_that_runs_while_the_sample_arrives_is_counted(image: Path):
    assert manifest_file.load(image).model.input_by_rows
    profile = tinyodl.profile(image)
    rows = of(profile, "Rows")
    inside = [cost for cost in profile.nodes if cost.within is rows.node]
    assert [cost.node.op for cost in inside[:2]] == ["QLinearConv", "QLinearConv"]
    assert all(cost.phase == "forward" for cost in inside)
    assert rows.count.instructions < sum(cost.count.instructions for cost in inside) / 20


def test_what_takes_turns_is_counted_by_itself_in_the_phase_of_all(bottleneck: Path):
    profile = tinyodl.profile(bottleneck)
    inside = [cost for cost in profile.nodes if cost.within and cost.within.op == "ByChannels"]
    assert {cost.node.op for cost in inside} >= {
        *("QLinearConvInputGradient", "MaskGradient", "QLinearConvBiasGradient"),
    }
    assert {cost.phase for cost in inside} == {"backward"}


def test_it_is_the_last_step_of_a_batch_and_weights_stay(tmp_path: Path):
    require_arm_compiler()
    project = built(
        flat_model(tmp_path / "flat.onnx"), BOARD, tmp_path / "p", batch=3, update="full"
    )
    profile = tinyodl.profile(project)
    updates = [cost for cost in profile.nodes if cost.node.op == "Update"]
    assert updates and all(cost.count.instructions for cost in updates)
    assert profile == tinyodl.profile(project)
    assert not (project / "flash.bin").exists()


def test_where_nothing_learns_it_is_an_evaluation(tmp_path: Path):
    require_arm_compiler()
    model = flat_model(tmp_path / "flat.onnx")
    project = built(model, BOARD, tmp_path / "p", update="none", loss="mse")
    profile = tinyodl.profile(project)
    assert [cost.node.op for cost in profile.nodes] == ["Gemm", "MeanSquaredError"]
    assert profile.total["update"] == Count()
    assert of(profile, "Gemm").count.instructions > 8


def test_the_sample_may_come_from_a_file(watch_nrf: Path, tmp_path: Path):
    data = WATCH / "person8_test.npz"
    assert tinyodl.profile(watch_nrf, data).sample == str(data)
    np.savez(tmp_path / "wrong.npz", x=np.zeros((1, 3)), y=np.zeros(1, int))
    with pytest.raises(DataError, match=r"wrong\.npz"):
        tinyodl.profile(watch_nrf, tmp_path / "wrong.npz")


def test_a_board_without_a_virtual_one_names_those_with(watch_host: Path):
    with pytest.raises(UserError, match=r"no virtual board to profile on.*nrf52840_dk"):
        tinyodl.profile(watch_host)


def test_a_project_of_an_older_tinyodl_asks_to_be_compiled_again(watch_nrf: Path):
    net = watch_nrf / "lib" / "net" / "net.c"
    net.write_text(net.read_text().replace("net_node_", "node_"))
    remember_sources(watch_nrf)
    with pytest.raises(UserError, match="compile the model again"):
        tinyodl.profile(watch_nrf)
