"""The page is complete in itself, the same for the same runs, and says what the log says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.fakes import manifest, record, step
from tinyodl.errors import TinyodlError
from tinyodl.report import report_html, write_plan, write_report
from tinyodl.runs.log import Run
from tinyodl.runs.record import Evaluation

BEFORE = Evaluation(samples=4, loss=1.0, accuracy=0.5, confusion=((1, 0, 1), (0, 1, 0), (0, 1, 0)))
AFTER = Evaluation(samples=4, loss=0.5, accuracy=0.75, confusion=((2, 0, 0), (0, 1, 0), (0, 1, 0)))
VOID = {"meta", "link", "br", "img", "input", "hr"}


def run(name: str = "one", steps: int = 40, **changes: object) -> Run:
    fields = {"eval_data": "test.npz", "before": BEFORE, "after": AFTER} | changes
    return Run(
        Path("runs") / name, record(**fields), manifest(), tuple(step(i) for i in range(steps))
    )


class Page(HTMLParser):
    """Collects the text, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += " ".join(data.split()) + " "


@pytest.mark.parametrize(
    "runs",
    [
        [run()],
        [run("one", shuffle=0), run("two", shuffle=1), run("three")],
        [run(steps=0, status="failed", error="the board does not answer", before=None, after=None)],
        [run(steps=1, status="running", after=None)],
        [run(energy_source=None, linked=None)],
    ],
)
def test_every_page_is_well_formed_and_fetches_nothing(runs: list[Run]) -> None:
    text = report_html(runs)
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object"}
    for _, attributes in page.tags:
        assert not {"src", "href", "srcset"} & set(attributes)
    assert "url(" not in text and "@import" not in text
    assert not re.search(r"https?://", text)


def test_the_same_runs_give_the_same_page() -> None:
    assert report_html([run()]) == report_html([run()])


def test_one_run_shows_before_and_after_time_energy_and_where_they_come_from() -> None:
    text = Page(report_html([run()])).text
    assert "50.0 % → 75.0 %" in text and "+25.0" in text
    assert "0.500 ms" in text and "modelled cycles of the virtual board" in text
    assert "mJ" in text and "estimated" in text
    assert "small.onnx on Nordic nRF52840 DK" in text
    assert "weights and bias" in text


def test_several_runs_stand_side_by_side_with_the_mean_of_the_shuffles() -> None:
    worse = AFTER.model_copy(update={"accuracy": 0.25})
    text = Page(report_html([run("a", shuffle=0), run("b", shuffle=1, after=worse), run("c")])).text
    assert "Mean of 2 shuffled runs" in text and "50.0 ± 35.4 %" in text
    assert "before, all runs" in text and "after a" in text and "after c" in text
    assert "-25.0" in text


def test_runs_of_different_experiments_are_not_averaged() -> None:
    text = report_html([run("a", shuffle=0), run("b", shuffle=1, learning_rate=0.5)])
    assert "mean of" not in Page(text).text.replace("mean of 2 runs", "")


def test_what_went_wrong_is_on_the_page() -> None:
    text = Page(report_html([run(status="failed", error="step 6: the board is silent")])).text
    assert "failed" in text and "step 6: the board is silent" in text


def test_names_from_files_are_text_and_never_markup() -> None:
    evil = run("<script>alert(1)</script>", data="<img src=x>.npz", error="a & b <b>")
    page = Page(report_html([evil]))
    assert not {tag for tag, _ in page.tags} & {"script", "img", "b1"}
    assert "<img src=x>.npz" in page.text


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    steps = tuple(step(i, loss=None if 20 <= i < 25 else 1.0) for i in range(60))
    text = report_html([Run(Path("r"), record(), manifest(), steps)])
    assert text.count("<polyline") == 3  # accuracy in one piece, the loss in two


def test_mse_runs_have_losses_instead_of_accuracies() -> None:
    plain = Evaluation(samples=4, loss=0.25, accuracy=None, confusion=None)
    steps = tuple(step(i, label=None, predicted=None) for i in range(30))
    mse = Run(
        Path("r"), record(before=plain, after=plain, eval_data="t"), manifest(loss="mse"), steps
    )
    text = Page(report_html([mse])).text
    assert "loss before" in text and "0.250" in text
    assert "Confusion" not in text and "Right before" not in text


def test_every_drawing_is_valid_svg() -> None:
    text = report_html([run("a"), run("b")])
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 3  # accuracy, loss, memory map
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_a_plan_has_a_page_of_its_own(tmp_path: Path) -> None:
    write_plan(manifest(), tmp_path / "new" / "plan.html")
    page = Page((tmp_path / "new" / "plan.html").read_text())
    assert "Plan: small.onnx on Nordic nRF52840 DK" in page.text
    assert "2,104 B predicted of 256 KiB" in page.text


def test_a_page_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(TinyodlError, match="cannot be written: Is a directory"):
        write_report([run()], tmp_path)
