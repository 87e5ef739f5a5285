"""Layers that run row by row: the same bits as one layer after the other, in less memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostnet import HostNet
from tests.memory.test_arena import assert_sound
from tests.models import INT8, name, shared_only
from tests.projects import built, image_model, require_arm_compiler
from tests.random_int8 import POINTWISE, SAME_3X3, Maps, random_maps
from tinyodl.compiler import plan_model
from tinyodl.frontend import import_model
from tinyodl.frontend.runtime import session
from tinyodl.graph import Graph, Node, Storage
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.memory.rows import by_rows, with_rows
from tinyodl.memory.turns import arrival, turns
from tinyodl.ops import OPERATORS
from tinyodl.ops.rows import arriving
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose
from tinyodl.session.session import Session

seeds = st.integers(0, 1 << 30)


def body_of(graph: Graph) -> tuple[Node, ...]:
    """The nodes of `random_maps`, without the views and the way back to float32."""
    return tuple(node for node in graph.nodes if OPERATORS[node.op].by_rows)


def in_one_run(graph: Graph) -> Graph:
    return with_rows(graph, [(0, len(body_of(graph)))])


def as_it_arrives(graph: Graph) -> Graph:
    return with_rows(graph, [(0, len(body_of(graph)))], arriving=True)


@settings(max_examples=300, deadline=None)
@given(seed=seeds)
def test_every_row_that_is_read_is_in_its_ring(seed):
    """Replays the turns on rings that know which row lies in each place, the sample's too."""
    graph = random_maps(seed)
    body = body_of(graph)
    done = turns(body, graph)
    arrives = arrival(body, graph, "x", done)
    rings = {**done.rings, "x": arrives.ring}
    held = {name: {} for name in rings}
    arrived = iter(range(graph.shape("x")[2]))
    for turn in range(len(next(iter(done.made.values()))) - 1):
        while arrives.needed[turn] > max(held["x"].values(), default=-1) + 1:
            row = next(arrived)
            held["x"][row % arrives.ring] = row
        for node in body:
            made, rule = node.outputs[0], OPERATORS[node.op].by_rows
            for row in range(*done.made[made][turn : turn + 2]):
                for operand in set(node.inputs) & set(held):
                    first = rule.frees(node, graph, row)
                    for read in range(first, rule.needs(node, graph, row + 1)):
                        assert held[operand].get(read % rings[operand]) == read
                if made in held:
                    held[made][row % rings[made]] = row
    last = body[-1].outputs[0]
    assert done.made[last][-1] == graph.shape(last)[2]


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_no_row_is_made_twice_and_none_is_made_before_it_is_needed(seed):
    graph = random_maps(seed)
    body = body_of(graph)
    done = turns(body, graph)
    for node in body[:-1]:
        made = done.made[node.outputs[0]]
        assert all(before <= after for before, after in pairwise(made))
        needed = max(
            OPERATORS[reader.op].by_rows.needs(reader, graph, done.made[reader.outputs[0]][-1])
            for reader in body
            if node.outputs[0] in reader.inputs
        )
        assert made[-1] == needed


@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_the_bits_are_the_same(tmp_path_factory, seed):
    graph = random_maps(seed)
    assert_sound(in_one_run(differentiate(graph, UpdatePlan())))
    folder = tmp_path_factory.mktemp("nets")
    plain = HostNet(graph, UpdatePlan(), folder / "plain")
    rows = HostNet(graph, UpdatePlan(), folder / "rows", passes=[in_one_run])
    for number in range(2):
        x = np.random.default_rng(number).integers(-128, 128, plain.input_shapes[0])
        x = x.astype(np.int8)
        np.testing.assert_array_equal(rows.forward(x), plain.forward(x))


@settings(max_examples=8, deadline=None)
@given(seed=seeds, piece=st.integers(1, 40))
def test_the_bits_are_the_same_while_the_sample_arrives(tmp_path_factory, seed, piece):
    """In pieces of any size, also when a sample begins anew in the middle of another one."""
    graph = random_maps(seed)
    assert_sound(as_it_arrives(differentiate(graph, UpdatePlan())))
    folder = tmp_path_factory.mktemp("nets")
    plain = HostNet(graph, UpdatePlan(), folder / "plain")
    rows = HostNet(graph, UpdatePlan(), folder / "rows", passes=[as_it_arrives])
    rows.piece = piece
    draw = np.random.default_rng(seed)
    for _ in range(2):
        x, other = draw.integers(-128, 128, (2, *plain.input_shapes[0])).astype(np.int8)
        rows.library.net_receive(0, 0, other.tobytes(), int(draw.integers(1, x.size + 1)))
        np.testing.assert_array_equal(rows.forward(x), plain.forward(x))


def test_the_target_may_come_before_the_sample_that_is_worked_on_as_it_arrives(tmp_path):
    graph, plan = bottleneck(), UpdatePlan(loss="mse")
    plain = HostNet(graph, plan, tmp_path / "plain")
    rows = HostNet(graph, plan, tmp_path / "rows", passes=[by_rows])
    assert rows.layout.by_rows
    assert_sound(rows.training)
    x = np.random.default_rng(0).integers(-128, 128, plain.input_shapes[0]).astype(np.int8)
    target = np.random.default_rng(1).normal(size=plain.output.shape).astype(np.float32)
    loss = plain.evaluate(x, target=target)
    assert rows.evaluate(x, target=target) == loss
    rows._write(1, target)
    rows._write(0, rows.layout.encoded(x, 1))
    assert rows.library.net_train(0) == loss


SCRATCH = 624  # of the depthwise layer below: 3 rows of sums, 5 of widened inputs, weights in pairs


def bottleneck(groups: int = 32) -> Graph:
    """8 maps of 24 x 24, 32 in between, 8 again, and a shortcut; then their averages."""
    maps = Maps(np.random.default_rng(0), (1, 8, 24, 24))
    maps.layer(32, (1, 1), POINTWISE)
    maps.layer(32, (3, 3), SAME_3X3, group=groups)
    maps.layer(8, (1, 1), POINTWISE)
    maps.shortcut("x")
    whole = {**POINTWISE, "kernel": (24, 24), "count_include_pad": False, "factor": 1.0}
    maps.node("QLinearAveragePool", (maps.last,), whole)
    return maps.graph()


def test_maps_between_layers_are_held_as_rings():
    training = differentiate(bottleneck(), UpdatePlan())
    made = with_rows(training, [(0, 3)])
    assert [node.op for node in made.nodes][:3] == ["Rows", "QLinearAdd", "QLinearAveragePool"]
    assert plan_arena(training).nbytes == (8 + 32) * 24 * 24 + SCRATCH, "in place after the first"
    assert plan_arena(made).nbytes == (8 + 8) * 24 * 24 + (3 + 1) * 32 * 24 + SCRATCH
    assert made.shape("m0") == (1, 32, 3, 24), "what the 3 x 3 windows reach"
    assert made.shape("m1") == (1, 32, 1, 24)


def test_the_sample_is_held_as_a_ring_too():
    made = by_rows(differentiate(bottleneck(), UpdatePlan()))
    assert [node.op for node in made.nodes][:2] == ["Rows", "QLinearAveragePool"]
    assert arriving(made) is made.nodes[0]
    assert made.shape("x") == (1, 8, 2, 24), "the shortcut is one row behind the windows"
    rings = (8 * 2 + 32 * 3 + 32 + 8) * 24
    assert plan_arena(made).nbytes == rings + 8 * 24 * 24 + SCRATCH


def test_a_sample_stays_whole_where_another_step_needs_more_memory():
    """Here the way to float32 does, once the layers run by rows."""
    maps = Maps(np.random.default_rng(0), (1, 2, 24, 24))
    maps.layer(32, (1, 1), POINTWISE)
    maps.layer(2, (1, 1), POINTWISE)
    made = by_rows(differentiate(maps.graph(), UpdatePlan()))
    assert made.nodes[0].op == "Rows"
    assert arriving(made) is None


def test_what_learns_does_not_work_on_a_sample_that_is_still_arriving():
    """It may be written between two rows."""
    training = differentiate(bottleneck(), UpdatePlan())
    learns = replace(training.tensor("c0.w"), storage=Storage.PARAMETER)
    made = by_rows(training.with_tensors([learns]))
    assert made.nodes[0].op == "Rows"
    assert arriving(made) is None


def test_a_run_costs_what_its_nodes_cost():
    training = differentiate(bottleneck(), UpdatePlan())
    made = with_rows(training, [(0, 4)])
    macs = [
        sum(OPERATORS[node.op].macs(node, graph) for node in graph.nodes)
        for graph in (training, made)
    ]
    assert macs[0] == macs[1] > 0
    assert [n.name for n in made.nodes[0].attrs["body"]] == [n.name for n in training.nodes[:4]]


def test_where_another_step_needs_more_memory_nothing_runs_by_rows():
    """Here the way to float32 does."""
    maps = Maps(np.random.default_rng(0), (1, 8, 24, 24))
    maps.layer(16, (1, 1), POINTWISE)
    maps.layer(8, (1, 1), POINTWISE)
    training = differentiate(maps.graph(), UpdatePlan())
    assert by_rows(training) is training


def test_a_map_that_is_read_elsewhere_stays_whole():
    graph = replace(bottleneck(groups=1), outputs=("y", "m1"))
    made = by_rows(differentiate(graph, UpdatePlan()))
    assert made.shape("m0") == (1, 32, 3, 24)
    assert made.shape("m1") == (1, 32, 24, 24)


@shared_only
def test_the_manifest_says_what_runs_by_rows():
    (path,) = (path for path in INT8 if "resnet8" in path.name)
    manifest = plan_model(path, "nrf52840_dk")
    rows, *_ = (node for node in manifest.schedule if node.op == "Rows")
    assert {node.op for node in rows.body} == {"QLinearConv", "QLinearAdd"}
    assert rows.macs == sum(node.macs for node in rows.body) > 0


@shared_only
@pytest.mark.parametrize("path", INT8, ids=name)
def test_shared_models_keep_their_bits(path, tmp_path):
    graph = import_model(path)
    plan = UpdatePlan(layers=choose(graph, "last"), learning_rate=0.01)
    training = differentiate(graph, plan)
    made = by_rows(training)
    assert_sound(made)
    if made is training:
        return
    assert plan_arena(made).nbytes < plan_arena(training).nbytes
    plain = HostNet(graph, plan, tmp_path / "plain")
    rows = HostNet(graph, plan, tmp_path / "rows", passes=[by_rows])
    classes = graph.tensor(graph.outputs[0]).size
    for seed in range(3):
        x = np.random.default_rng(seed).integers(-128, 128, plain.input_shapes[0]).astype(np.int8)
        np.testing.assert_array_equal(rows.forward(x), plain.forward(x))
        assert rows.train(x, seed % classes) == plain.train(x, seed % classes)
    for kept in plain.parameters:
        np.testing.assert_array_equal(rows.parameter(kept.name), plain.parameter(kept.name))


@pytest.mark.parametrize("board, port", [("host", "host"), ("nrf52840_dk", "virtual")])
def test_a_board_that_works_on_images_as_they_arrive_computes_what_the_file_says(
    tmp_path, board, port
):
    if port == "virtual":
        require_arm_compiler()
    images = np.random.default_rng(0).normal(size=(8, 3, 24, 24)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=images)
    options = {"precision": "int8", "calibrate": tmp_path / "images.npz"}
    project = built(image_model(tmp_path / "image.onnx"), board, tmp_path / "project", **options)
    with Session(project, port=port) as board_session:
        assert board_session.manifest.model.input_by_rows
        found = board_session.infer(images)
        labels = found.argmax(axis=1)
        assert board_session.evaluate(images, labels).accuracy == 1
    runtime = session(onnx.load(project / "model.onnx"))  # whose optimised kernels may saturate
    expected = np.concatenate([runtime.run(None, {"x": x[None]})[0] for x in images])
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
