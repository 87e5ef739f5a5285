"""Counts: the board counts by label what it predicts."""
