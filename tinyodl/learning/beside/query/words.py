"""What people are told of labels on request."""

from __future__ import annotations

from tinyodl.learning.beside.record import Words
from tinyodl.report.figures import count, percent
from tinyodl.runlog import Run
from tinyodl.update_plan import UpdatePlan


def _clause(plan: UpdatePlan) -> str:
    budget = f" within an error budget of {plan.error_budget:g}" if plan.query == "auto" else ""
    return f"asks for labels: {plan.query}{budget}"


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
