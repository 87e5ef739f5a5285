"""Counts: the board's predictions by label, and how often they are right."""
