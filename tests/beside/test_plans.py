"""What a plan may ask for, and what that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tinyodl
from tests.beside.board import net, person, refusal
from tests.builds import build
from tests.models import WATCH
from tinyodl.device.codes import Command, Status
from tinyodl.errors import DataError, UserError
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.beside.guard.feature import GUARD_SLOTS
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.session.session import Session


class TestPlans:
    def test_a_plan_file_says_all_of_it(self, tmp_path):
        plan = UpdatePlan(query="auto", error_budget=0.02, drift=True, guard="4:0.2")
        path = tmp_path / "plan.toml"
        path.write_text(dump_plan(plan))
        assert load_plan(path) == plan
        names = {setting.name: setting.default for setting in settings_of(plan)}
        assert names["error_budget"] == 0.02 and names["guard_margin"] == 0.2

    @pytest.mark.parametrize(
        "options",
        [
            {"query": "sometimes"},
            {"query": "margin:x"},
            {"guard": "0"},
            {"guard": "4:7"},
            {"error_budget": 0.0},
            {"query": "auto", "loss": "mse"},
            {"query": "always", "loss": "reconstruction"},
        ],
    )
    def test_what_cannot_be(self, options):
        with pytest.raises(UserError):
            tinyodl.plan(WATCH, "host", **options)

    def test_a_network_that_learns_nothing_asks_nothing(self):
        with pytest.raises(UserError, match="the plan lets nothing"):
            tinyodl.plan(WATCH, "host", update="none", drift=True)

    def test_a_firmware_that_does_not_ask_says_so(self, tmp_path):
        tinyodl.compile(WATCH, "host", tmp_path / "p")
        build(tmp_path / "p")
        x, y = person(8, "learn")
        with Session(tmp_path / "p", port="host") as session:
            with pytest.raises(UserError, match="does not ask for labels; compile it with --query"):
                session.train(x, y, query=True, run=tmp_path / "run")
            with pytest.raises(DataError, match="it has outlier_factor"):
                session.client.setting("query")
            session.client.upload(x[0])
            assert refusal(session.client, Command.ASK) is Status.UNKNOWN
            assert refusal(session.client, Command.SETTING, b"\1\0\0\0") is Status.RANGE

    def test_memory_is_predicted(self):
        plain = tinyodl.plan(WATCH, "nrf52840_dk").ram.parts
        made = tinyodl.plan(WATCH, "nrf52840_dk", query="auto", drift=True, guard="4")
        record, asked, classes, size = 16 * 2 * 4, 8, 7, 32
        drift = 4 * (2 * classes * size + 2 * classes + 3 * classes)
        held = classes * GUARD_SLOTS * (size + 4)
        guard = held + 4 * (classes + 2 + classes * (size + 1))
        numbers = 4 * (len(made.settings) + 1)
        gate = 4 + 4  # how far the samples reach, and whether the one asked about is an outlier
        assert made.ram.parts["watching"] == record + asked + drift + guard + numbers + gate
        assert made.ram.parts["parameters"] == plain["parameters"]


def test_with_everything_unset_the_firmware_is_as_before(tmp_path):
    """No plan field, no code."""
    board = net(tmp_path, rule="sgd")
    text = (tmp_path / "net" / "net.c").read_text()
    assert "FLAG_" not in text and "net_settings" not in text and not board.save().settings
    assert replace(board.training, nodes=board.training.nodes) == board.training
