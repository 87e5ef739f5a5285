"""Drift: the board watches for samples that are other than those it learned."""
