"""Gradients that meet: added by the node that makes the later one, in the memory of the earlier."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hostnet import HostNet
from tests.memory.test_arena import assert_sound
from tests.memory.test_by_channels import Mobile, layers, learning
from tests.random_int8 import POINTWISE, SAME_3X3
from tinyodl.graph import Graph
from tinyodl.learning.tensors import state_name
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.ops import in_place_of
from tinyodl.project.layer_update import ChannelUpdate


def residual(*kinds: tuple[tuple[int, int], dict[str, object]]) -> Graph:
    """Layers of these kernels and attributes, 5 maps of 6 x 7 each, with a shortcut around each."""
    maps = Mobile(np.random.default_rng(1), (1, 5, 6, 7))
    maps.layer(5, (1, 1), POINTWISE)
    for kernel, attrs in kinds:
        before = maps.last
        maps.layer(5, kernel, attrs)
        maps.shortcut(before)
    return maps.graph()


POINT, SQUARE = ((1, 1), POINTWISE), ((3, 3), SAME_3X3)


@pytest.mark.parametrize("update", ["weights", ChannelUpdate(inputs=(3, 1))], ids=["all", "some"])
@pytest.mark.parametrize("kinds", [(POINT, POINT), (SQUARE, SQUARE)], ids=["1x1", "3x3"])
def test_gradients_are_those_of_added_nodes(tmp_path, kinds, update):
    graph = residual(*kinds)
    plan = learning(graph, update, batch=2)
    plain = HostNet(graph, plan, tmp_path / "plain")
    made = HostNet(graph, plan, tmp_path / "made", passes=[sums_in_place])
    assert [n.op for n in plain.training.nodes].count("Add") == 2
    assert "Add" not in [node.op for node in made.training.nodes]
    assert_sound(made.training)
    assert plan_arena(made.training).lower_bound < plan_arena(plain.training).lower_bound
    x = np.random.default_rng(2).integers(-128, 128, plain.input_shapes[0]).astype(np.int8)
    assert made.train(x, 3) == plain.train(x, 3)
    for node in layers(graph):
        name = state_name(node.inputs[1], "sum")
        expected = plain.parameter(name)
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(made.parameter(name), expected, rtol=1e-5, atol=1e-6 * scale)


def test_a_sum_takes_over_the_memory_of_what_it_is_added_to():
    graph = residual(POINT, SQUARE)
    training = sums_in_place(differentiate(graph, learning(graph, "weights")))
    arena = plan_arena(training)
    added = [n for n in training.nodes if n.op == "QLinearConvInputGradient" and len(n.inputs) > 5]
    assert len(added) == 2
    for node in added:
        assert in_place_of(node, training) == (5,)
        assert arena.offsets[node.outputs[0]] == arena.offsets[node.inputs[5]]


def test_a_depthwise_layer_adds_to_nothing():
    """Its gradient takes over the memory of the one it reads."""
    maps = Mobile(np.random.default_rng(1), (1, 5, 6, 7))
    maps.layer(5, (1, 1), POINTWISE)
    before = maps.last
    maps.layer(5, (3, 3), SAME_3X3, group=5)
    maps.shortcut(before)
    graph = maps.graph()
    training = differentiate(graph, learning(graph, "weights"))
    assert sums_in_place(training) is training
