"""Outliers: whether a sample may be learned from, before anything else is done with it.

It reads the float32 inputs, or nothing where the sample is worked on as it arrives, and moves their
reach (the last input). The function of net.c that calls the kernel is in `outlier.j2`.
"""

from __future__ import annotations

from tinyodl.ops.shared import Operator, register

register(Operator("Outliers", lambda node, graph: (), "outlier_f32.h"))
