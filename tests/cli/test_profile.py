"""`profile`: a table for people, one object for programs, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.projects import WATCH
from tinyodl.project import manifest as manifest_file


def test_profile_shows_each_node_that_runs_and_what_a_phase_comes_to(
    tinyodl: Run, watch_nrf: Path
) -> None:
    done = tinyodl("profile", watch_nrf, "--data", WATCH / "person8_test.npz")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert ["/3/Conv", "Conv", "48,000"] in [row[:3] for row in rows]
    assert not any(row[:1] == ["/10/Flatten"] for row in rows)  # a view
    names = [row[0] for row in rows if row]
    assert names.index("forward") < names.index("backward") < names.index("update")
    assert "arm" in done.out and "person8_test.npz" in done.out


def test_profile_json_has_every_node_and_adds_up(tinyodl: Run, watch_nrf: Path) -> None:
    values = tinyodl("profile", watch_nrf, "--json").values
    manifest = manifest_file.load(watch_nrf)
    nodes = values["nodes"]
    assert [node["name"] for node in nodes] == [node.name for node in manifest.schedule]
    assert [node["macs"] for node in nodes] == [node.macs for node in manifest.schedule]
    for count in ("instructions", "cycles"):
        for phase, of in values["phases"].items():
            inside = sum(node[count] for node in nodes if node["phase"] == phase)
            assert inside + of["between_nodes"][count] == of[count]
        assert values["step"][count] == sum(of[count] for of in values["phases"].values())
    between = sum(of["between_nodes"]["cycles"] for of in values["phases"].values())
    shares = sum(node["share"] for node in nodes)
    assert shares == pytest.approx(1 - between / values["step"]["cycles"])
    code = sum(node["code_bytes"] for node in nodes) + sum(values["code_bytes_shared"].values())
    assert code + values["code_bytes_between_nodes"] == values["code_bytes"]
    assert values["model_id"] == manifest.model_id and values["sample"] == "zeros"


def test_profile_of_a_board_without_a_virtual_one_is_the_users_mistake(
    tinyodl: Run, watch_host: Path
) -> None:
    done = tinyodl("profile", watch_host)
    assert done.code == 2
    assert "no virtual board" in done.err and "nrf52840_dk" in done.err
