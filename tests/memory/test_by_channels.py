"""Going back through wide maps by channels: the same bits as whole maps, in less memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostnet import HostNet
from tests.memory.test_arena import assert_sound
from tests.models import ROOT, shared_only
from tests.random_int8 import POINTWISE, SAME_3X3, Maps
from tests.test_sanitizers import MAIN, check_with_clang, run_sanitized
from tinyodl.codegen.network import render_network
from tinyodl.frontend import Changes, parse_head, prepare
from tinyodl.graph import Graph, Node, Phase, Quantization
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import live_bytes, plan_arena
from tinyodl.memory.by_channels import by_channels, most_together, regions, with_regions
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.ops import OPERATORS
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import load_plan
from tinyodl.select.shares import with_channels

STEPS = 30
HALVED_3X3 = {**SAME_3X3, "strides": (2, 2)}
SHARED = ROOT.parent / "shared" / "models"
SCHEMES = sorted((ROOT / "examples" / "schemes").glob("*.toml"))


class Mobile(Maps):
    """A network of expanding, depthwise and projecting layers, whose weights can learn."""

    def block(
        self, wide: int, outputs: int, depthwise: dict[str, object] | None = SAME_3X3
    ) -> None:
        """`wide` maps between two pointwise layers, with or without a depthwise one."""
        before = self.last
        self.layer(wide, (1, 1), POINTWISE)
        if depthwise:
            self.layer(wide, (3, 3), depthwise, group=wide)
        self.layer(outputs, (1, 1), POINTWISE)
        if self.tensors[before].shape == self.tensors[self.last].shape:
            self.shortcut(before)

    def graph(self) -> Graph:
        """With the scales that the layers' multipliers stand for: all maps have the same one."""
        graph = super().graph()
        scaled = []
        for node in layers(graph):
            scale = tuple(graph.tensor(node.inputs[3]).data.tolist())
            scaled.append(replace(graph.tensor(node.inputs[1]), quantization=Quantization(scale)))
        return graph.with_tensors(scaled)


def layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "QLinearConv"]


def random_mobile(seed: int) -> tuple[Graph, UpdatePlan]:
    """Two or three blocks on maps of 4 to 9 rows, and a plan by which any part of them learns."""
    draw = np.random.default_rng(seed)
    maps = Mobile(draw, (1, *(int(size) for size in draw.integers((1, 4, 3), (6, 10, 8)))))
    for _ in range(maps.integer(2, 3)):
        depthwise = [None, SAME_3X3, HALVED_3X3][maps.integer(0, 2)]
        maps.block(maps.integer(1, 4) * maps.integer(2, 4), maps.integer(1, 6), depthwise)
        if maps.integer(0, 3) == 0:
            maps.convolution()
    graph = maps.graph()
    rule = {
        "batch": maps.integer(1, 2),
        "optimizer": ["sgd", "momentum", "adam"][maps.integer(0, 2)],
        "master": ["none", "int16", "float32"][maps.integer(0, 2)],
    }
    learning = {node.name: random_update(node, graph, maps) for node in layers(graph)}
    return graph, UpdatePlan(layers=learning, learning_rate=0.003, **rule)


def random_update(node: Node, graph: Graph, maps: Maps) -> LayerUpdate:
    kind = ["none", "bias", "weights", "inputs", "outputs"][maps.integer(0, 4)]
    if kind not in ("inputs", "outputs"):
        return kind
    if kind == "inputs" and node.attrs["group"] > 1:
        kind = "outputs"
    count = graph.shape(node.inputs[0] if kind == "inputs" else node.outputs[0])[1]
    chosen = maps.draw.permutation(count)[: maps.integer(1, count)]
    return ChannelUpdate(**{kind: tuple(chosen.tolist())})


def all_by_channels(training: Graph, *, together: bool = False) -> Graph:
    """Every region there is as a node, also where that saves nothing."""
    found = regions(training)
    return with_regions(
        training, {region: most_together(region, training) if together else 1 for region in found}
    )


def all_together(training: Graph) -> Graph:
    return all_by_channels(training, together=True)


def by_channels_nodes(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "ByChannels"]


def assert_same_bits(
    graph: Graph, plan: UpdatePlan, folder: Path, *passes, before=(), steps: int = STEPS
) -> None:
    """Losses of every step, and in the end all that learns, whatever the pass that comes last."""
    plain = HostNet(graph, plan, folder / "plain", passes=before)
    others = [
        HostNet(graph, plan, folder / f"{i}", passes=[*before, last])
        for i, last in enumerate(passes)
    ]
    begun = {kept.name: plain.parameter(kept.name) for kept in plain.parameters}
    random = np.random.default_rng(0)
    classes = plain.output.size
    for _ in range(steps):
        x = random.integers(-128, 128, plain.input_shapes[0]).astype(np.int8)
        label = int(random.integers(classes))
        loss = plain.train(x, label)
        assert np.isfinite(loss)
        assert [other.train(x, label) for other in others] == [loss] * len(others)
    for kept in plain.parameters:
        for other in others:
            np.testing.assert_array_equal(other.parameter(kept.name), plain.parameter(kept.name))
    assert any((plain.parameter(kept) != value).any() for kept, value in begun.items())


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_the_bits_are_the_same(tmp_path_factory, seed):
    graph, plan = random_mobile(seed)
    before = [sums_in_place][: seed % 2]
    for improve in (all_by_channels, all_together):
        training = differentiate(graph, plan)
        for first in before:
            training = first(training)
        assert_sound(improve(training))
    folder = tmp_path_factory.mktemp("nets")
    assert_same_bits(graph, plan, folder, all_by_channels, all_together, before=before)


def bottleneck(depthwise: dict[str, object] | None = SAME_3X3) -> Graph:
    """8 maps of 8 x 8, 32 in between, 8 again, and a shortcut; twice."""
    maps = Mobile(np.random.default_rng(0), (1, 8, 8, 8))
    maps.block(32, 8, depthwise)
    maps.block(32, 8, depthwise)
    whole = {**POINTWISE, "kernel": maps.tensors[maps.last].shape[2:]}
    maps.node(
        "QLinearAveragePool", (maps.last,), {**whole, "count_include_pad": False, "factor": 1.0}
    )
    return maps.graph()


def learning(graph: Graph, *updates: LayerUpdate, **rule: object) -> UpdatePlan:
    """A plan in which the updates of the layers come again and again."""
    names = [node.name for node in layers(graph)]
    given_to = {name: updates[i % len(updates)] for i, name in enumerate(names)}
    return UpdatePlan(layers=given_to, learning_rate=0.003, **rule)


SOME = (3, 1, 6)
CASES = {
    "biases": ("bias",),
    "weights": ("weights",),
    "columns of both pointwise layers": (ChannelUpdate(inputs=SOME), "bias"),
    "filters of the depthwise layer": ("bias", ChannelUpdate(outputs=SOME), "bias"),
    "filters of the expanding layer": (ChannelUpdate(outputs=SOME), "bias", "weights"),
    "filters everywhere": (ChannelUpdate(outputs=SOME),),
    "columns behind filters": (
        ChannelUpdate(outputs=SOME),
        ChannelUpdate(outputs=(7, 2)),
        ChannelUpdate(inputs=(30, 4)),
    ),
}


@pytest.mark.parametrize("updates", CASES.values(), ids=CASES)
def test_whatever_learns(tmp_path, updates):
    graph = bottleneck()
    plan = learning(graph, *updates)
    assert len(regions(differentiate(graph, plan))) == 2
    before = [sums_in_place]
    assert_same_bits(graph, plan, tmp_path, all_by_channels, all_together, before=before)


@pytest.mark.parametrize("depthwise", [None, HALVED_3X3], ids=["none", "stride 2"])
@pytest.mark.parametrize("rule", [{}, {"batch": 3, "optimizer": "adam"}], ids=["sgd", "sums"])
def test_whatever_lies_between(tmp_path, depthwise, rule):
    graph = bottleneck(depthwise)
    plan = learning(graph, "weights", ChannelUpdate(outputs=SOME), **rule)
    assert_same_bits(graph, plan, tmp_path, all_by_channels, all_together)


def test_gradients_of_wide_maps_are_held_as_planes():
    graph = bottleneck()
    training = differentiate(graph, learning(graph, "bias"))
    made = all_by_channels(training)
    assert_sound(made)
    second, first = by_channels_nodes(made)
    ops = [node.op.removeprefix("QLinearConv") for node in second.attrs["body"]]
    projecting, depthwise = ops[:3], ops[3:6]
    assert projecting == depthwise == ["InputGradient", "MaskGradient", "BiasGradient"]
    assert ops[6:] == ["InputGradient"]
    assert [made.shape(name) for name in second.outputs] == [(1, 8, 8, 8), *[(1, 1, 8, 8)] * 2]
    assert [made.shape(name) for name in first.outputs] == [(1, 1, 8, 8)] * 2


def test_the_peak_is_that_of_the_narrow_maps():
    """Two of them, one wide plane after the other, and bit masks; not a wide map."""
    graph = bottleneck()
    training = differentiate(graph, learning(graph, "bias"))
    made = by_channels(sums_in_place(training))
    assert_sound(made)
    wide, narrow, plane = 32 * 64 * 4, 8 * 64 * 4, 64 * 4
    masks = (4 * wide + 3 * narrow) // 32
    assert backward_peak(training) > wide + 2 * narrow
    assert 2 * narrow + 2 * plane < backward_peak(made) < 2 * narrow + 2 * plane + masks


def backward_peak(training: Graph) -> int:
    """The most bytes alive at once in the backward pass."""
    alive = dict(live_bytes(plan_arena(training).blocks, len(training.nodes)))
    nodes = enumerate(training.nodes)
    return max(alive[step] for step, node in nodes if node.phase is not Phase.FORWARD)


def test_it_costs_what_its_nodes_cost():
    graph = bottleneck()
    training = differentiate(graph, learning(graph, "weights"))
    made = all_by_channels(training)
    macs = [
        sum(OPERATORS[node.op].macs(node, graph) for node in graph.nodes)
        for graph in (training, made)
    ]
    assert macs[0] == macs[1] > 0


def test_weights_change_when_all_channels_have_been_read():
    """Those of a projecting layer: every channel's gradient is made with the old ones."""
    graph = bottleneck()
    made = all_by_channels(differentiate(graph, learning(graph, "weights")))
    order = [node.name for node in made.nodes]
    assert order.index("m6.QLinearConvWeightGradient") > order.index("m6 to m4")
    assert order.index("m2.QLinearConvWeightGradient") > order.index("m2 to m0")


def test_a_wide_map_that_is_read_elsewhere_has_a_whole_gradient():
    maps = Mobile(np.random.default_rng(0), (1, 4, 6, 6))
    maps.layer(16, (1, 1), POINTWISE)
    wide = maps.last
    maps.layer(16, (3, 3), SAME_3X3, group=16)
    maps.shortcut(wide)
    maps.layer(4, (1, 1), POINTWISE)
    graph = maps.graph()
    training = differentiate(graph, learning(graph, "weights"))
    assert regions(training) == []
    assert by_channels(training) is training


def test_where_as_much_memory_is_needed_anyway_gradients_stay_whole():
    graph = bottleneck()
    training = differentiate(graph, learning(graph, "bias"))
    peak = backward_peak(training)
    assert by_channels(training, within=peak) is training
    assert len(by_channels_nodes(by_channels(training))) == 2
    some = by_channels(training, within=peak - 1)
    assert len(by_channels_nodes(some)) == 1
    assert backward_peak(some) < peak


def test_as_many_channels_at_a_time_as_there_is_memory_for():
    graph = bottleneck()
    training = differentiate(graph, learning(graph, "bias"))
    lowest = by_channels(training)
    assert [node.attrs["count"] for node in by_channels_nodes(lowest)] == [1, 4]
    planes = 2 * 64 * 4
    more = by_channels(training, within=backward_peak(lowest) + 3 * planes)
    assert [node.attrs["count"] for node in by_channels_nodes(more)] == [4, 4]


def test_generated_code_has_no_finding(tmp_path):
    """Of the sanitizers, and of clang's warnings."""
    graph = bottleneck(HALVED_3X3)
    plan = learning(graph, ChannelUpdate(outputs=SOME), "weights", ChannelUpdate(inputs=SOME))
    for made in (all_by_channels, all_together):
        training = made(sums_in_place(differentiate(graph, plan)))
        network = render_network(training, plan_arena(training), plan, source="test", version="0")
        for name, text in (network.files | {"main.c": MAIN}).items():
            (tmp_path / name).write_text(text)
        run_sanitized(tmp_path / "main.c")
        check_with_clang(tmp_path / "main.c")


@shared_only
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda path: path.stem)
def test_published_schemes_keep_their_bits(scheme, tmp_path):
    model = "mbv2_w035" if scheme.stem.startswith("mbv2") else "mcunet_5fps"
    prepared = prepare(
        SHARED / f"{model}_int8.onnx", Changes(head=parse_head("dense:10"), check=False)
    )
    plan = load_plan(scheme)
    graph = prepared.under(plan)
    plan = with_channels(plan, graph)
    training = differentiate(graph, plan)
    made = by_channels(sums_in_place(training))
    assert_sound(made)
    assert backward_peak(made) < 0.5 * backward_peak(training)
    assert_same_bits(graph, plan, tmp_path, by_channels, before=[sums_in_place], steps=3)
