"""Runs and plans for people: tables in the terminal, and one self-contained HTML page."""

from tinyodl.report.page import report_html, write_plan, write_report

__all__ = ["report_html", "write_plan", "write_report"]
