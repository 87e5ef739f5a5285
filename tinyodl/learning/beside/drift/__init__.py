"""Drift: whether new samples have moved away from the learned ones."""
