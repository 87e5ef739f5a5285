"""--update auto: what it chooses, within which budgets, and how it says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinyodl
from tests.models import ROOT, WATCH
from tests.test_learners import person
from tinyodl.errors import DoesNotFitError, UserError
from tinyodl.frontend import Changes, prepare
from tinyodl.planner.lowering import lower
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import load_plan
from tinyodl.report import write_plan
from tinyodl.select.auto import choose_plan
from tinyodl.select.budget import Budget, Costs
from tinyodl.select.importance import Samples, importance
from tinyodl.select.levels import ladders_of, updates_of, value_of
from tinyodl.select.search import search
from tinyodl.targets.boards import load_board

BOARD = load_board("nrf52840_dk")
LEARN = ROOT / "examples" / "watch" / "person8_learn.npz"


@pytest.fixture(scope="module")
def watch():
    """The watch network, what its layers are worth to a new person, and all their levels."""
    prepared = prepare(WATCH, Changes())
    found = importance(prepared, UpdatePlan(), Samples(*person(8, "learn")))
    ladders = ladders_of(prepared.under(UpdatePlan()), found, ["/11/Gemm"])
    return prepared, ladders


def costs_of(prepared, **budget) -> Costs:
    return Costs(prepared, UpdatePlan(), BOARD, Budget(**budget), {"/11/Gemm": "weights"})


@pytest.mark.parametrize(
    "budget",
    [{"ram": 12_000}, {"ram": 16_500}, {"ram": 24_000}, {"ram": 60_000}, {"time": 12.0}],
    ids=str,
)
def test_the_search_finds_the_best_of_all_choices(watch, budget):
    prepared, ladders = watch
    costs = costs_of(prepared, **budget)
    best = search(ladders, costs)[0]
    every = itertools.product(*(range(len(ladder.levels)) for ladder in ladders))
    fitting = [value_of(ladders, c) for c in every if costs.fits(updates_of(ladders, c))]
    assert best.value == pytest.approx(max(fitting))


def test_what_is_filled_by_steps_leaves_no_room_and_keeps_the_budget(watch, monkeypatch):
    monkeypatch.setattr("tinyodl.select.search.MOST_CHOICES", 0)  # as for a large network
    prepared, ladders = watch
    for ram in np.random.default_rng(0).integers(11_000, 45_000, 4):
        costs = costs_of(prepared, ram=int(ram))
        best = search(ladders, costs)[0]
        lowered = lower(prepared, costs.plan_with(updates_of(ladders, best.choice)), BOARD)
        assert lowered.ram_bytes <= ram
        for index, ladder in enumerate(ladders):
            for at, level in enumerate(ladder.levels):
                if level.value > ladder.levels[best.choice[index]].value:
                    larger = (*best.choice[:index], at, *best.choice[index + 1 :])
                    assert not costs.fits(updates_of(ladders, larger))


def test_the_trial_chooses_and_the_plan_says_how(tmp_path):
    options = {"update": "auto", "samples": str(LEARN), "trials": 4}
    manifest = tinyodl.compile(WATCH, "host", tmp_path / "p", ram=40_000, **options)
    choice = manifest.choice
    assert [each.name for each in choice.candidates] == ["none", "last", "bias", "filled 1"]
    taken = [each for each in choice.candidates if each.verdict == "chosen"]
    best = max(choice.candidates, key=lambda each: each.accuracy)
    assert len(taken) == 1 and taken[0].accuracy >= best.accuracy - 2 * best.error
    frozen = choice.candidates[0]
    assert taken[0].accuracy > frozen.accuracy + 2 * frozen.error
    assert manifest.ram.total <= 40_000
    edited = load_plan(tmp_path / "p" / "plan.toml")
    assert edited.layers == manifest.plan.layers
    page = tmp_path / "plan.html"
    write_plan(manifest, page)
    text = page.read_text()
    assert text.count("<circle") >= 4 and all(each.name in text for each in choice.candidates)
    assert edited.learning_rate == manifest.plan.learning_rate != UpdatePlan().learning_rate


def test_without_samples_biases_come_first_and_it_says_so():
    chosen = choose_plan(prepare(WATCH, Changes()), UpdatePlan(), BOARD, budget=Budget(ram=16_000))
    assert dict(chosen.plan.layers) == {
        "/0/Conv": "bias",
        "/3/Conv": "bias",
        "/6/Conv": "bias",
        "/11/Gemm": "weights",
    }
    assert "no samples" in chosen.sentences[0]


def test_budgets_that_cannot_be_kept_are_refused():
    prepared = prepare(WATCH, Changes())
    with pytest.raises(DoesNotFitError, match="raise the budget"):
        choose_plan(prepared, UpdatePlan(), BOARD, budget=Budget(ram=4_000))
    with pytest.raises(UserError, match="--time needs a model of the cycles"):
        choose_plan(prepared, UpdatePlan(), load_board("host"), budget=Budget(time=5.0))
    with pytest.raises(UserError, match="samples is for --update auto"):
        tinyodl.plan(WATCH, "host", samples=str(LEARN))
    with pytest.raises(UserError, match="learns its own layer; leave --update away"):
        tinyodl.plan(WATCH, "host", update="auto", learner="rls")
