"""KeptInputs: the memory for the inputs of layers of which a run chooses what learns.

It computes nothing: its output (S), int8 or float32, begins to live there. Each candidate that
learns keeps what the gradient of its weights reads in it (`tinyodl.learning.candidates`).
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import Call, Operator, register


def _nothing(node: Node, graph: Graph) -> tuple[Call, ...]:
    return ()


for _name, _kernel in (("KeptInputsInt8", "chosen_i8.h"),):
    register(Operator(_name, _nothing, _kernel))
