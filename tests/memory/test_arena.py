"""The arena: nothing that is alive is overwritten, and the figures are what they say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import LARGE, SHIPPED, name
from tinyodl.frontend import import_model
from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import UPLOAD, arena_blocks, live_bytes, plan_arena, tensor_lifetimes
from tinyodl.ops import OPERATORS, in_place_of
from tinyodl.ops.rows import arriving
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose


def assert_sound(graph: Graph) -> None:
    """Replays the schedule on a model of the arena that knows who wrote each byte range last."""
    plan = plan_arena(graph)
    spans = {
        name: (plan.offsets[name], plan.offsets[name] + graph.tensor(name).nbytes)
        for name in plan.offsets
    }
    intact: set[str] = set()

    def write(written: str) -> None:
        start, stop = spans[written]
        for other in list(intact):
            if spans[other][0] < stop and start < spans[other][1]:
                intact.discard(other)
        intact.add(written)

    def assert_apart(node: Node, made: str) -> None:
        """Only the first output may lie on an input, and only where the operator says so."""
        taken = {node.inputs[slot] for slot in in_place_of(node, graph)}
        for operand in spans.keys() & set(node.inputs):
            (start, stop), (first, last) = spans[made], spans[operand]
            allowed = operand in taken and made == node.outputs[0] and start == first
            assert allowed or stop <= first or last <= start, f"{node.name}: {made}, {operand}"

    early = arriving(graph)
    uploaded = {*graph.inputs, *(early.outputs if early else ())}
    for value in uploaded:
        write(value)
    assert intact == uploaded, "what is written during the upload overlaps"
    for node in graph.nodes:
        for operand in node.inputs:
            assert operand not in spans or operand in intact, (
                f"{node.name} reads {operand} too late"
            )
        for made in filter(None, node.outputs):
            if OPERATORS[node.op].call is None:  # a view writes nothing
                assert spans[made] == spans[node.inputs[0]]
                intact.add(made)
            else:
                assert_apart(node, made)
                write(made)
    assert intact >= set(graph.outputs), "an output does not survive the step"
    assert max((stop for _, stop in spans.values()), default=0) <= plan.nbytes
    assert plan.lower_bound <= plan.nbytes
    assert plan.lower_bound == max(b for _, b in live_bytes(plan.blocks, len(graph.nodes)))


@pytest.mark.parametrize("path", [*SHIPPED, *LARGE], ids=name)
@pytest.mark.parametrize("updates", ["none", "last", "bias", "full"])
def test_no_living_tensor_is_overwritten(path, updates):
    graph = import_model(path)
    if updates == "bias" and not any(n.inputs[2] for n in graph.nodes if OPERATORS[n.op].layer):
        pytest.skip("no bias")
    training = differentiate(graph, UpdatePlan(layers=choose(graph, updates)))
    assert_sound(training)
    plan = plan_arena(training)
    assert plan.nbytes == plan.lower_bound, "larger than the peak of live bytes"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_random_graphs_of_elementwise_nodes_are_placed_soundly(data):
    sizes = st.integers(1, 50)
    tensors = {"t0": Tensor("t0", (1, data.draw(sizes)))}
    nodes = []
    for index in range(1, data.draw(st.integers(2, 14))):
        source = data.draw(st.sampled_from(sorted(tensors)))
        made = f"t{index}"
        shape = tensors[source].shape
        same = sorted(t for t in tensors if tensors[t].shape == shape)
        op = data.draw(st.sampled_from(["Relu", "Add", "Reshape", "Softmax"]))
        inputs = (source, data.draw(st.sampled_from(same))) if op == "Add" else (source,)
        if op == "Reshape":
            shape = (shape[-1], 1) if shape[0] == 1 else (1, shape[0])
        tensors[made] = Tensor(made, shape)
        nodes.append(Node(op, f"n{index}", inputs, (made,), {"shape": shape}))
    graph = Graph(tuple(nodes), tensors, ("t0",), (nodes[-1].outputs[0],))
    assert_sound(graph.with_nodes(graph.nodes))


def test_views_and_in_place_activations_cost_nothing():
    graph = Graph(
        (
            Node("Relu", "relu", ("x",), ("a",)),
            Node("Reshape", "view", ("a",), ("b",), {"shape": (8,)}),
            Node("Relu", "again", ("b",), ("y",)),
        ),
        {n: Tensor(n, s) for n, s in {"x": (1, 8), "a": (1, 8), "b": (8,), "y": (8,)}.items()},
        ("x",),
        ("y",),
    )
    plan = plan_arena(graph)
    assert plan.nbytes == plan.lower_bound == 32
    assert set(plan.offsets.values()) == {0}
    assert plan.lifetimes["x"] == (UPLOAD, 0)


def test_an_output_is_by_itself_where_there_is_room_beside_its_input():
    graph = Graph(
        (Node("Relu", "relu", ("x",), ("a",)), Node("Relu", "again", ("a",), ("y",))),
        {n: Tensor(n, (1, 8)) for n in ("x", "a", "y")},
        ("x",),
        ("y",),
    )
    lifetimes = tensor_lifetimes(graph)

    def made(room):
        blocks, _ = arena_blocks(graph, lifetimes, room)
        return [block.tensors for block in blocks]

    assert made(None) == [("x", "a", "y")]
    assert made({0: 32, 1: 31}) == [("x",), ("a", "y")]
    assert made({0: 31, 1: 32}) == [("x", "a"), ("y",)]


def test_an_input_that_is_read_later_is_not_taken_over():
    graph = Graph(
        (Node("Relu", "relu", ("x",), ("a",)), Node("Add", "add", ("a", "x"), ("y",))),
        {n: Tensor(n, (1, 8)) for n in ("x", "a", "y")},
        ("x",),
        ("y",),
    )
    assert_sound(graph)
    assert plan_arena(graph).nbytes == 64


def test_an_output_that_is_smaller_than_what_it_takes_over_gives_the_rest_back(monkeypatch):
    pool = replace(OPERATORS["AveragePool"], in_place=(0,))
    monkeypatch.setitem(OPERATORS, "AveragePool", pool)
    shapes = {"x": (1, 2, 4, 4), "a": (1, 2, 1, 1), "b": (1, 2), "w": (30, 2), "y": (1, 30)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    tensors["w"] = replace(tensors["w"], storage=Storage.FLASH)
    graph = Graph(
        (
            Node("AveragePool", "pool", ("x",), ("a",)),
            Node("Reshape", "view", ("a",), ("b",), {"shape": (1, 2)}),
            Node("Gemm", "dense", ("b", "w", ""), ("y",)),
        ),
        tensors,
        ("x",),
        ("y",),
    )
    plan = plan_arena(graph)
    assert_sound(graph)
    assert plan.offsets["x"] == plan.offsets["a"] == plan.offsets["b"]
    assert plan.nbytes == plan.lower_bound == 128, "8 of x's 128 bytes stay, y takes 120"


def test_gradients_that_nobody_needs_are_not_generated():
    """With the last layer learning, the backward pass holds its two gradients and no other node."""
    graph = import_model(SHIPPED[-1])
    training = differentiate(graph, UpdatePlan(layers=choose(graph, "last")))
    made = [n.op for n in itertools.islice(training.nodes, len(graph.nodes), None)]
    assert made == [
        "CrossEntropy",
        "CrossEntropyGradient",
        "GemmWeightGradient",
        "GemmBiasGradient",
    ]
    assert not [t for t in training.tensors.values() if t.storage == "state"]
