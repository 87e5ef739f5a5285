"""Nodes in an order in which each stands behind those that make its inputs, as ONNX wants them.

onnxruntime loads files in any order, and some writers append nodes at the end.
"""

from __future__ import annotations

import onnx

from tinyodl.frontend.names import node_names, read_by


def sorted_nodes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str] | None:
    """A copy with the nodes in order, and the change in words; None if they are in order.

    A node moves no further than it has to. Nodes in a circle stay: ONNX's checker names them. Nodes
    without a name get the one they had by their place.
    """
    graph = model.graph
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    reads = [
        sorted({makers[name] for name in read_by(node) if name in makers}) for node in graph.node
    ]
    if all(maker < index for index, made in enumerate(reads) for maker in made):
        return None
    order = _in_order(reads)
    if order is None:
        return None
    moved = sum(1 for place, index in enumerate(order) if place != index)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node, name in zip(made.graph.node, node_names(graph), strict=True):
        node.name = name
    nodes = [made.graph.node[index] for index in order]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made, f"{moved} nodes of the file stood before what they read: sorted"


def _in_order(reads: list[list[int]]) -> list[int] | None:
    """The indices in order: a node is put where it is first read, or where it stands."""
    order: list[int] = []
    state = [0] * len(reads)  # 1: its inputs are being put, 2: put
    for start in range(len(reads)):
        way = [start] if state[start] == 0 else []
        while way:
            index = way[-1]
            state[index] = 1
            before = next((each for each in reads[index] if state[each] < 2), None)
            if before is None:
                state[index] = 2
                order.append(way.pop())
            elif state[before] == 1:
                return None
            else:
                way.append(before)
    return order
