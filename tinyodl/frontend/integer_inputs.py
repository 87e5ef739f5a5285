"""The scale of an integer input that is moved before it meets its scale.

Converters of int8 networks transpose an input of the network, or see it with another shape, before
the DequantizeLinear that says what its integers stand for. Moving elements leaves that as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinyodl.frontend import constants
from tinyodl.ops.quantized_import import FORMS, MOVING
from tinyodl.ops.shared import OnnxNode, Scope, UnknownInput, Unsupported
from tinyodl.ops.shared.quantized_values import quantization_of


def know_scales(nodes: Sequence[OnnxNode], scope: Scope) -> None:
    """Give integer inputs whose first readers only move them the scale that comes behind.

    An input whose scale cannot be found stays as it is: whoever reads it says so.
    """
    for name, tensor in list(scope.tensors.items()):
        if tensor.dtype != "int8" or tensor.quantization is not None:
            continue
        found = _reader(name, nodes)
        if found is None:
            continue
        node, slot = found
        for held in node.inputs[slot + 1 : slot + 3]:
            _evaluate(held, nodes, scope)
        kind = "uint8" if name in scope.unsigned else "int8"
        try:
            of, _ = quantization_of(node, scope, slot + 1, tensor.shape, kind)
        except (Unsupported, UnknownInput):
            continue
        if len(of.scale) == 1:
            scope.add(replace(tensor, quantization=of))


def _reader(name: str, nodes: Sequence[OnnxNode]) -> tuple[OnnxNode, int] | None:
    """The node, and its slot, that says what moved integers stand for; None where nobody does."""
    moved = {name}
    for node in nodes:  # in the order of the file
        if node.op in MOVING and moved.intersection(node.inputs):
            moved.update(node.outputs)
        slots: tuple[int, ...] = (0,) if node.op == "DequantizeLinear" else ()
        if node.op in FORMS:
            slots = FORMS[node.op].operands or tuple(range(2, len(node.inputs), 3))
        for slot in slots:
            if node.input(slot) in moved:
                return node, slot
    return None


def _evaluate(name: str, nodes: Sequence[OnnxNode], scope: Scope) -> None:
    """Let the scope know a constant whose Constant node has not had its turn."""
    for node in nodes:
        if node.op == "Constant" and name in node.outputs and name not in scope.constants:
            scope.constants[name] = constants.constant_node(node)
