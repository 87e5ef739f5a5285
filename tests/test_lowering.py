"""The door to the planner: its lower bound, and graphs that it builds once for several plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontend.models import saved
from tests.memory.test_by_channels import random_mobile
from tests.models import INT8, ROOT, SHIPPED, WATCH, name
from tests.random_graphs import random_model
from tests.random_int8 import random_maps
from tinyodl.compiler import changes_of, compilation
from tinyodl.frontend import Changes, Prepared, prepare
from tinyodl.graph import Graph
from tinyodl.learning.learners.choice import as_learner
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.memory.by_channels import by_channels, possible_regions, with_regions
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.memory.least import least_arena
from tinyodl.memory.rows import by_rows
from tinyodl.ops import layers_of
from tinyodl.planner.lowering import Lowered, lower, lower_bound
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose
from tinyodl.select.shares import with_channels
from tinyodl.targets.boards import load_board

BOARD = load_board("nrf52840_dk")
SCHEMES = ("last", "bias", "full")
BATCH_NORM = ROOT / "tests" / "models" / "lenet_mnist_c8_bn.onnx"
DIGITS_INT8 = next(path for path in INT8 if path.stem.startswith("digits"))
SMALL_INT8 = [path for path in INT8 if path.stat().st_size < 100_000]


def planned(prepared: Prepared, scheme: str, **rule: object) -> UpdatePlan:
    return UpdatePlan(layers=choose(prepared.graph, scheme), **rule)


def assert_bounded(prepared: Prepared, plan: UpdatePlan) -> Lowered:
    """No part of the bound is above the answer, and only the arena's and the gate's are below."""
    bound, exact = lower_bound(prepared, plan, BOARD), lower(prepared, plan, BOARD)
    assert bound.ram.keys() == exact.ram.keys()
    assert 0 < bound.ram["arena"] <= exact.ram["arena"]
    assert exact.ram["watching"] - bound.ram["watching"] in (0, 4)
    others = bound.ram.keys() - {"arena", "watching"}
    assert {part: bound.ram[part] for part in others} == {part: exact.ram[part] for part in others}
    assert bound.macs == sum(exact.macs.values())
    return exact


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_maps_that_stay_whole_make_the_bound_exact(path, scheme):
    prepared = prepare(path, Changes())
    plan = planned(prepared, scheme)
    exact = assert_bounded(prepared, plan)
    assert lower_bound(prepared, plan, BOARD).ram_bytes == exact.ram_bytes


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", SMALL_INT8, ids=name)
def test_int8_networks_are_bounded(path, scheme):
    prepared = prepare(path, Changes())
    assert_bounded(prepared, planned(prepared, scheme))


@pytest.mark.parametrize("rule", [{"optimizer": "adam", "batch": 4}, {"optimizer": "momentum"}])
def test_what_an_optimizer_keeps_is_in_the_bound(rule):
    prepared = prepare(WATCH, Changes())
    plan = planned(prepared, "full", **rule)
    exact = assert_bounded(prepared, plan)
    assert exact.ram["optimizer"] > 0


BESIDE = [
    {"learner": "rls", "query": "auto", "drift": True},
    {"learner": "elm", "hidden": 16, "forgetting": 0.999},
    {"learner": "slda", "max_classes": 6},
    {"learner": "ncm"},
    {"learner": "online", "max_classes": 6, "metrics": True},
    {"learner": "transfer", "cache": 20, "guard": "10"},
    {"head": "prototypes:5", "shots": 3},
    {"head": "dense:4", "update": "full", "guard": "20", "query": "margin:0.2"},
    {"update": "full", "guard": "20", "optimizer": "momentum"},
]


@pytest.mark.parametrize("options", BESIDE, ids=lambda options: "-".join(map(str, options)))
@pytest.mark.parametrize("path", [WATCH, DIGITS_INT8], ids=name)
def test_heads_learners_and_features_are_in_the_bound(path, options):
    prepared = prepare(path, changes_of(as_learner(options)))
    plan = compilation(path, BOARD, options).lowered.plan
    assert plan.beside or prepared.head
    assert_bounded(prepared, plan)


@pytest.mark.parametrize("seed", range(12))
def test_random_float32_networks_are_bounded(tmp_path, seed):
    prepared = prepare(saved(random_model(seed), tmp_path), Changes())
    for scheme in SCHEMES:
        assert_bounded(prepared, planned(prepared, scheme))


def merged_in_many_ways(training: Graph) -> list[Graph]:
    """With each region by itself, with those that save memory, and each with runs by rows."""
    regions = possible_regions(training)
    alone = [with_regions(training, {region: 1}) for region in regions]
    made = [training, by_channels(training), *alone]
    return [*made, *map(by_rows, made)]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_no_choice_of_regions_and_runs_goes_below_the_bound(seed):
    graph, plan = random_mobile(seed)
    training = sums_in_place(differentiate(graph, with_channels(plan, graph)))
    least = least_arena(training)
    assert least > 0
    for made in merged_in_many_ways(training):
        assert least <= plan_arena(made).lower_bound


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_rows_of_a_frozen_network_do_not_go_below_the_bound(seed):
    training = differentiate(random_maps(seed), UpdatePlan())
    assert 0 < least_arena(training) <= plan_arena(by_rows(training)).lower_bound


def test_the_bound_of_a_wide_backward_pass_is_most_of_the_answer():
    """The mean over random networks whose gradients run by channels."""
    shares = []
    for seed in range(20):
        graph, plan = random_mobile(seed)
        plan = plan.model_copy(update={"layers": {n.name: "weights" for n in layers_of(graph)}})
        training = sums_in_place(differentiate(graph, plan))
        made = by_rows(by_channels(training))
        shares.append(least_arena(training) / plan_arena(made).nbytes)
    assert np.mean(shares) > 0.8


def test_a_graph_is_built_once_for_plans_that_fold_alike():
    prepared = prepare(BATCH_NORM, Changes())
    last, bias, full = (planned(prepared, scheme) for scheme in SCHEMES)
    graph = prepared.under(last)
    assert prepared.under(last) is graph
    assert [n.op for n in prepared.under(full).nodes] != [n.op for n in graph.nodes]
    for plan in (last, bias, full, last):
        fresh = replace(prepared).under(plan)
        again = prepared.under(plan)
        assert again is not fresh
        assert [(n.op, n.name, n.inputs, n.outputs) for n in again.nodes] == [
            (n.op, n.name, n.inputs, n.outputs) for n in fresh.nodes
        ]
        assert (again.inputs, again.outputs) == (fresh.inputs, fresh.outputs)
        assert again.tensors.keys() == fresh.tensors.keys()
        for tensor in fresh.tensors.values():
            np.testing.assert_array_equal(again.tensor(tensor.name).data, tensor.data)
