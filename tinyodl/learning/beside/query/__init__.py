"""Queries: the board says for which samples it wants a label."""
