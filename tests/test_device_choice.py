"""Channels chosen while a network runs: it learns the bits of one compiled for these channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.hostnet import HostNet
from tests.projects import WATCH, built, require_arm_compiler
from tests.quick_c import QUICK
from tests.random_int8 import random_maps
from tinyodl.compiler import compilation
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import DataError, UserError
from tinyodl.frontend import import_model
from tinyodl.graph import Graph, Quantization
from tinyodl.host_run.network import HostNetwork
from tinyodl.learning.bound import bounded
from tinyodl.learning.candidates import Candidate, candidates_of, guarded
from tinyodl.learning.tensors import FRACTION, LOSS, state_name
from tinyodl.memory.by_channels import by_channels
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.ops import layers_of
from tinyodl.ops.shared.candidate import PLAN, POOL
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.manifest import load
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan
from tinyodl.runs.log import read
from tinyodl.select.choice import with_choice
from tinyodl.session.linked import linked_firmware
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

Choice = dict[str, tuple[int, ...]]
POOLS = {"pool": 4000, "pool_inputs": 4000}
NEW, REFUSED = 1, 2  # the first element of PLAN


def network(graph: Graph, plan: UpdatePlan, folder: Path) -> HostNet:
    passes = (lambda g: guarded(bounded(g, plan, LOSS)), sums_in_place, by_channels)
    folder.mkdir()
    return HostNet(graph, plan, folder, passes=passes)


def maps(seed: int) -> Graph:
    """Random layers, in an order that has branches, depthwise layers and pools."""
    graph = random_maps(seed)
    weights = [graph.tensor(n.inputs[1]) for n in graph.nodes if n.op == "QLinearConv"]
    scaled = (replace(w, quantization=Quantization((0.01,) * w.shape[0])) for w in weights)
    return graph.with_tensors(scaled)


def drawn(candidates: tuple[Candidate, ...], random: np.random.Generator, turn: int) -> Choice:
    """For each layer in turn some channels, its bias, all, nothing."""
    choice: Choice = {}
    for number, each in enumerate(candidates, turn):
        some = random.choice(each.channels, random.integers(each.channels) + 1, replace=False)
        every = tuple(range(each.channels))
        found = (tuple(sorted(some.tolist())), (), every, None)[number % 4]
        if found is not None:
            choice[each.name] = found
    return choice


def numbers(candidates: tuple[Candidate, ...], choice: Choice) -> np.ndarray:
    """PLAN, as templates/net/chosen.j2 has it."""
    made = [NEW, 0]
    for each in candidates:
        learning = choice.get(each.name)
        made.append(0 if learning is None else 1 + len(learning))
        others = [c for c in range(each.channels) if c not in (learning or ())]
        made += [*(learning or ()), *others]
    return np.array(made, np.uint16)


def compiled_in(plan: UpdatePlan, choice: Choice) -> UpdatePlan:
    layers = {
        name: update
        if update != "candidate"
        else (ChannelUpdate(outputs=choice[name]) if choice[name] else "bias")
        if name in choice
        else "none"
        for name, update in plan.layers.items()
    }
    return plan.model_copy(update={"layers": layers})


def assert_equal(
    net: HostNet, other: HostNet, candidates: tuple[Candidate, ...], choice: Choice
) -> int:
    """All that learned, of both, below the integers too; how much of it moved."""
    held = {tensor.name for tensor in other.parameters}
    pool, at, moved = net.parameter(POOL), 0, 0
    for each in candidates:
        channels = choice.get(each.name)
        if channels is not None and each.delta in held:
            assert net.parameter(each.delta).tobytes() == other.parameter(each.delta).tobytes()
        if channels:
            expected = other.parameter(each.weight)
            ours = pool[at : at + expected.size].reshape(expected.shape)
            np.testing.assert_array_equal(ours, expected, each.name)
            all_of_it = net.training.tensor(each.weight).data
            low, low_expected = (
                network.parameter(state_name(name, FRACTION)).reshape(-1)
                for network, name in ((net, POOL), (other, each.weight))
            )
            low = low[at : at + expected.size]
            assert low.tobytes() == low_expected.tobytes(), each.name
            moved += int((ours != all_of_it[list(channels)]).sum()) + np.count_nonzero(low)
            at += expected.size
    return moved


@pytest.mark.parametrize(
    ("seed", "rule"),
    [
        (3, {}),
        (5, {"optimizer": "momentum", "batch": 2}),
        (9, {"optimizer": "adam", "master": "float32", "bound": "off"}),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_a_choice_learns_like_one_compiled_in(seed, rule, tmp_path):
    graph = maps(seed)
    names = [node.name for node in layers_of(graph)]
    layers = dict.fromkeys(names[:-1], "candidate") | {names[-1]: "weights"}
    plan = UpdatePlan(layers=layers, learning_rate=0.05, **POOLS, **rule)
    net = network(graph, plan, tmp_path / "net")
    candidates = candidates_of(net.training)
    random = np.random.default_rng(seed)
    x = random.integers(-128, 128, (8, *graph.shape("x")[1:])).astype(np.int8)
    y = random.integers(0, graph.tensor(graph.outputs[0]).size, 8)
    net.write_parameter(PLAN, numbers(candidates, drawn(candidates, random, 0)))
    net.train_all(x, y)  # what it learned under another choice is gone
    choice = drawn(candidates, random, 2)
    net.reset()
    other = network(graph, compiled_in(plan, choice), tmp_path / "other")
    net.write_parameter(PLAN, numbers(candidates, choice))
    ours, theirs = net.train_all(x, y), other.train_all(x, y)
    assert ours.losses.tobytes() == theirs.losses.tobytes()
    assert assert_equal(net, other, candidates, choice) > 0


def test_a_wrong_plan_is_refused(tmp_path):
    graph = maps(3)
    names = [node.name for node in layers_of(graph)]
    layers = dict.fromkeys(names[:-1], "candidate") | {names[-1]: "weights"}
    plan = UpdatePlan(layers=layers, pool=40, pool_inputs=400)
    net = network(graph, plan, tmp_path / "net")
    candidates = candidates_of(net.training)
    x = np.zeros((1, *graph.shape("x")[1:]), np.int8)
    size = len(numbers(candidates, {}))
    first, last = candidates[0], candidates[-1]
    everything = {each.name: tuple(range(each.channels)) for each in candidates}
    wrong = {
        "twice": numbers(candidates, {first.name: (0,)}).copy(),
        "beyond": numbers(candidates, {last.name: (last.channels - 1,)}).copy(),
        "too many": numbers(candidates, everything),
        "noise": np.full(size, 0xFFFF, np.uint16),
    }
    wrong["twice"][3:5] = 0
    wrong["beyond"][wrong["beyond"] == last.channels - 1] = last.channels
    for what, values in wrong.items():
        net.write_parameter(PLAN, values)
        before = net.state()
        with pytest.raises(DataError):
            net.train_all(x, [0])
        assert net.parameter(PLAN)[0] == REFUSED, what
        assert net.forward(x[0]).size, "it can still be asked"
        net.flush()
        left = {name: raw for name, raw in net.state().items() if name != PLAN}
        assert left == {name: raw for name, raw in before.items() if name != PLAN}, what
    net.write_parameter(PLAN, numbers(candidates, {first.name: ()}))
    net.train_all(x, [0])
    assert net.parameter(PLAN)[0] == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watch network in int8 with all layers but the last as candidates, built for a board."""
    require_arm_compiler()
    out = tmp_path_factory.mktemp("device") / "watch"
    return built(
        WATCH / "watch_cnn_c7.onnx",
        "nrf52840_dk",
        out,
        precision="int8",
        calibrate=WATCH / "person8_learn.npz",
        update="device",
        ram=20 * 1024,
        learning_rate=0.02,
    )


def test_its_ram_and_flash_are_predicted(project):
    manifest, linked = load(project), linked_firmware(project, load_board("nrf52840_dk"))
    assert linked is not None
    assert linked.ram_bytes == pytest.approx(manifest.ram.total, rel=0.003)
    assert linked.flash_bytes == pytest.approx(manifest.flash.total, rel=0.1)


def test_a_board_learns_saves_and_exports_what_was_chosen(project, tmp_path):
    choice = {"/0/Conv": (1, 2, 9), "/3/Conv": (), "/6/Conv": (0, 31)}
    data = np.load(WATCH / "person10_learn.npz")
    x, y = data["x"][:12], data["y"][:12]
    manifest = load(project)
    assert manifest.ram.total <= 20 * 1024
    file = tmp_path / "plan.toml"
    file.write_text(dump_plan(with_choice(manifest.plan, choice)))
    lowered = compilation(project / "model.onnx", load_board("nrf52840_dk"), {"update": str(file)})
    with (
        HostNetwork.of(lowered.lowered, flags=QUICK) as expected,
        Session(project, "virtual") as board,
    ):
        board.choose(choice)
        run = board.train(x, y, select=file, run=tmp_path / "run")
        losses = expected.train_all(x, y).losses
        steps = read(tmp_path / "run").steps
        assert [np.float32(step.loss) for step in steps] == losses.tolist()
        assert run.status == "done" and read(tmp_path / "run").record.chosen == choice
        board.client.reboot()
        assert board.chosen() == choice, "it is in the store"
        board.export(tmp_path / "learned.onnx")
        graph = import_model(tmp_path / "learned.onnx")
        for node in layers_of(graph):
            if choice.get(node.name):
                weight = graph.tensor(node.inputs[1]).data
                of = expected.parameter(node.inputs[1])
                np.testing.assert_array_equal(weight[list(choice[node.name])], of)
        index = next(p.index for p in manifest.parameters if p.name == PLAN)
        board.client.write_parameter(index, np.full(manifest.parameters[index].shape, 9, np.uint16))
        with pytest.raises(RefusedError, match="RANGE"):
            board.client.train(x[0], int(y[0]))
        with pytest.raises(UserError, match="channels 0 to 23"):
            board.choose({"/3/Conv": (24,)})
        with pytest.raises(UserError, match="larger --ram"):
            board.choose({each.name: range(each.channels) for each in manifest.candidates})
        with pytest.raises(UserError, match="candidates are"):
            board.choose({"/11/Gemm": (0,)})


def test_layers_that_cannot_be_candidates_are_named(tmp_path):
    def compiled(**options: object) -> None:
        tinyodl.compile(WATCH / "watch_cnn_c7.onnx", "host", tmp_path / "x", **options)

    with pytest.raises(UserError, match="--precision int8"):
        compiled(update="device")
    with pytest.raises(UserError, match="is float32"):
        compiled(update="device", candidates="/3/Conv")
    with pytest.raises(UserError, match="--update device"):
        compiled(candidates="2")
