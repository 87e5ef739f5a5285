"""Drawings show the numbers: rectangles are bytes and steps, curves are means."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import record, step
from tests.projects import WATCH
from tinyodl import plan
from tinyodl.project.manifest import Manifest
from tinyodl.report import curves, figures, groups, memory_map, pareto
from tinyodl.runs.log import Run


@pytest.fixture(scope="module", params=["last", "full"])
def watch(request: pytest.FixtureRequest) -> Manifest:
    return plan(WATCH / "watch_cnn_c7.onnx", "nrf52840_dk", update=request.param)


def rectangles(manifest: Manifest) -> dict[str, tuple[float, float, float, float]]:
    """x, y, width, height of each tensor, by the name its tooltip begins with."""
    svg = ElementTree.fromstring(memory_map.draw(manifest))
    found = {}
    for group in svg.iter("g"):
        title, rect = group.findtext("title"), group.find("rect")
        assert title is not None and rect is not None
        found[title.split(":")[0]] = tuple(
            float(rect.attrib[key]) for key in ("x", "y", "width", "height")
        )
    return found  # type: ignore[return-value]


def test_every_tensor_has_a_rectangle_as_tall_as_its_bytes(watch: Manifest) -> None:
    found = rectangles(watch)
    biggest = max(watch.arena.tensors, key=lambda tensor: tensor.bytes)
    unit = (found[biggest.name][3] + 1) / biggest.bytes
    for tensor in watch.arena.tensors:
        assert found[tensor.name][3] + 1 == pytest.approx(max(tensor.bytes * unit, 1.5), abs=0.2)


def test_rectangles_overlap_only_where_tensors_share_bytes(watch: Manifest) -> None:
    found = rectangles(watch)
    for one in watch.arena.tensors:
        for other in watch.arena.tensors:
            shared = min(one.offset + one.bytes, other.offset + other.bytes) > max(
                one.offset, other.offset
            ) and min(one.last, other.last) >= max(one.first, other.first)
            x1, y1, w1, h1 = found[one.name]
            x2, y2, w2, h2 = found[other.name]
            overlap = (
                min(x1 + w1, x2 + w2) - max(x1, x2) > 0.2
                and min(y1 + h1, y2 + h2) - max(y1, y2) > 0.6
            )
            assert not overlap or shared


def test_the_strip_has_a_cell_for_every_step(watch: Manifest) -> None:
    found = rectangles(watch)
    assert sum(name.startswith("step ") for name in found) == len(watch.schedule)


@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=80),
    width=st.integers(1, 40),
)
def test_a_rolling_mean_is_the_mean_of_the_latest_values(values: list[float], width: int) -> None:
    means = curves.rolling_mean(values, width)
    assert len(means) == len(values)
    for index, mean in enumerate(means):
        if index + 1 < min(width, len(values)) // 2:
            assert mean is None
        else:
            latest = values[max(0, index + 1 - width) : index + 1]
            assert mean == pytest.approx(np.mean(latest), abs=1e-6)


@given(low=st.floats(-1e6, 1e6), span=st.floats(0, 1e6))
def test_ticks_are_few_evenly_spaced_and_enclose_the_values(low: float, span: float) -> None:
    high = low + span
    ticks = curves.ticks(low, high)
    assert 2 <= len(ticks) <= 9
    tolerance = 1e-6 * max(abs(low), abs(high), 1)
    assert ticks[0] <= low + tolerance and ticks[-1] >= high - tolerance
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_curves_stay_inside_the_drawing() -> None:
    run = Run(Path("r"), record(), None, tuple(step(i) for i in range(300)))  # type: ignore[arg-type]
    for drawn in (
        curves.draw("accuracy", curves.accuracy_curves([run], ["r"]), top=100),
        curves.draw("loss", curves.loss_curves([run], ["r"])),
    ):
        for line in ElementTree.fromstring(drawn).iter("polyline"):
            for point in line.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert curves.LEFT <= x <= curves.WIDTH - curves.RIGHT
                assert curves.TOP - 0.1 <= y <= curves.HEIGHT - curves.BOTTOM + 0.1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0, "0"), (0.3, "0.300"), (0.0123, "0.0123"), (12.34, "12.3"),
        (123.4, "123"), (1234.5, "1,234"), (7.05e35, "7.05e+35"), (2e-7, "2.00e-07"),
    ],
)  # fmt: skip
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert figures.significant(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (10_239, "10,239 B"),
        (10_240, "10 KiB"),
        (98_765, "96.5 KiB"),
        (2**30, "1,024 MiB"),
    ],
)
def test_sizes_are_exact_while_small(number: int, text: str) -> None:
    assert figures.size(number) == text


def test_runs_are_named_by_their_folders_with_as_many_parents_as_it_takes() -> None:
    def named(*folders: str) -> list[str]:
        return groups.names([Run(Path(f), record(), None, ()) for f in folders])  # type: ignore[arg-type]

    assert named("/a/x", "/a/y") == ["x", "y"]
    assert named("/a/x", "/b/x") == ["a/x", "b/x"]
    assert named("/a/x", "/a/x") == ["x (1)", "x (2)"]


@pytest.mark.parametrize("costs", [(27_312.0, 40_836.0), (21.0, 21.0), (900.0, 2e6)])
@pytest.mark.parametrize("shares", [(97.9, 97.9), (97.9, 99.0), (20.0, 100.0)])
def test_a_picture_of_accuracy_over_cost_has_both_axes(costs, shares):
    points = [
        pareto.Point("a", costs[0], shares[0], 1.0),
        pareto.Point("b", costs[1], shares[1], 1.0),
    ]
    svg = ElementTree.fromstring(pareto.draw("Accuracy", "bytes", points))
    told = [each.text for each in svg.iter() if each.get("class") == "axis"]
    numbers = [each for each in told if each and each != "bytes"]
    assert len(numbers) == len(set(numbers)) >= 2
    for circle in (each for each in svg.iter() if each.tag.endswith("circle")):
        assert all(np.isfinite(float(circle.get(at))) for at in ("cx", "cy"))
