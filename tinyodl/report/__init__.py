"""Runs and plans for people: tables in the terminal, one self-contained HTML page, a sheet."""

from tinyodl.report.page import report_html, write_plan, write_report
from tinyodl.report.sheet import write_sheet

__all__ = ["report_html", "write_plan", "write_report", "write_sheet"]
