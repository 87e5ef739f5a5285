"""The words for people on labels on request."""

from __future__ import annotations

from tinyodl.learning.beside.query.section import Query
from tinyodl.learning.beside.record import Words
from tinyodl.project.plan import UpdatePlan
from tinyodl.report.figures import count, percent
from tinyodl.runs.log import Run


def _clause(plan: UpdatePlan) -> str:
    query = Query.on(plan)
    said = {
        "always": "always",
        "auto": f"auto within an error budget of {query.error_budget:g}",
        "margin": f"margin:{query.margin}",
    }
    return f"asks for labels: {said[query.ask]}"


def _sentences(run: Run) -> list[str]:
    summary = run.summary
    query = summary.query
    if query is None or summary.asked is None or not summary.samples:
        return []
    parts = {"samples": query.samples, "questions": query.asks, "labels": query.labels}
    line = ", ".join(f"{part} {count(to)} and {count(back)}" for part, (to, back) in parts.items())
    return [
        f"the board wanted {count(summary.asked)} of {count(summary.samples)} labels "
        f"({percent(1 - summary.asked / summary.samples)} saved), {query.answered_by} gave "
        f"{count(summary.answered or 0)}; bytes to the board and from it: {line}"
    ]


WORDS = Words(_clause, sentences=_sentences)
