"""Drift: whether the samples have moved away from those that were learned."""
