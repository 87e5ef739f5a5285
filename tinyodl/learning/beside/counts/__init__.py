"""Counts: what the board predicts, by label, and how often right."""
