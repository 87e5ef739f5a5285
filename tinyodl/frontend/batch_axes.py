"""Inputs and outputs without a batch: the graph's own have one, and the nodes see them without.

A time series of PyTorch's default layout (steps, 1, features) is one sample, and so is a row (49,).
A graph's inputs and outputs begin with a batch of 1, here (1, steps, 1, features) and (1, 49), and
a view leads to the value of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from tinyodl.graph import Array, Node
from tinyodl.ops.shared import Scope

_VIEW = "Reshape"


def with_batch_axes(scope: Scope, output: str) -> None:
    """Put views behind inputs whose first axis is not of size 1, and then before such an output."""
    made = {name for node in scope.nodes for name in node.outputs}
    inputs = [
        name
        for name, tensor in scope.tensors.items()
        if name not in made and tensor.data is None and not _is_batched(tensor.shape)
    ]
    for name in inputs:
        tensor = scope.tensors[name]
        inner = _rename(scope, name, "sample")
        scope.add(replace(tensor, shape=(1, *tensor.shape)))
        view = Node(_VIEW, scope.fresh_node(inner), (name,), (inner,), {"shape": tensor.shape})
        scope.nodes.insert(0, view)
    if inputs and output in made and not _is_batched(scope.tensors[output].shape):
        shape = scope.tensors[output].shape
        inner = _rename(scope, output, "whole")
        scope.reshape(scope.fresh_node(inner), inner, (1, *shape), output)


def as_in_file(model: onnx.ModelProto, sample: Mapping[str, Array]) -> dict[str, Array]:
    """A sample, which has a batch of 1, as the file's inputs have it: some have no batch."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.input}
    return {n: value[0] if value.ndim > ranks[n] else value for n, value in sample.items()}


def _is_batched(shape: tuple[int, ...]) -> bool:
    return shape[:1] == (1,)


def _rename(scope: Scope, name: str, suffix: str) -> str:
    """Give a tensor another name, which nodes read and write from now on; returns it."""
    inner = scope.fresh(f"{name}.{suffix}")
    scope.rename(name, inner)
    return inner
