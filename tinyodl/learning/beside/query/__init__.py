"""Queries: the board says which labels are worth asking for."""
