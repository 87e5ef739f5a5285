"""Changes to an ONNX graph in place: nodes and initializers that they do not name stay as is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx
import onnx.helper
import onnx.numpy_helper

from tinyodl.frontend.names import live_nodes, read_by
from tinyodl.graph import Array

BIAS_SLOT = 2  # of Conv and Gemm


def write_constant(
    graph: onnx.GraphProto, uses: Sequence[tuple[onnx.NodeProto, int]], value: Array
) -> None:
    """Make `value` the constant in these input slots of nodes, which read one value so far.

    An initializer of the same shape that nobody else reads is replaced; else a new one is added and
    the nodes read that.
    """
    node, slot = uses[0]
    name = node.input[slot] if slot < len(node.input) else ""
    for initializer in graph.initializer:
        if (
            initializer.name == name
            and tuple(initializer.dims) == value.shape
            and _readers(graph)[name] == len(uses)
        ):
            _fill(initializer, value)
            return
    added = fresh_name(graph, f"{name or _made(node)}.learned")
    _fill(graph.initializer.add(name=added), value)
    for node, slot in uses:
        while len(node.input) <= slot:
            node.input.append("")
        node.input[slot] = added


def own_nodes(
    graph: onnx.GraphProto, way: Sequence[onnx.NodeProto], use: tuple[onnx.NodeProto, int]
) -> list[onnx.NodeProto]:
    """Nodes, one behind the other, that lead to this input slot of a node and nowhere else.

    They are `way`, or where others read what it makes, copies of them.
    """
    readers = _readers(graph)
    if all(readers[node.output[0]] == 1 for node in way):
        return list(way)
    place = 1 + list(graph.node).index(way[-1])
    made: list[onnx.NodeProto] = []
    for node in way:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{node.name}.learned" if node.name else ""
        if made:
            copy.input[0] = made[-1].output[0]
        copy.output[0] = fresh_name(graph, f"{node.output[0]}.learned")
        graph.node.insert(place + len(made), copy)
        made.append(graph.node[place + len(made)])
    layer, slot = use
    layer.input[slot] = made[-1].output[0]
    return made


def add_bias(graph: onnx.GraphProto, node: onnx.NodeProto, value: Array) -> None:
    """Put an Add of a constant behind a node; what read the node reads the sum."""
    output = node.output[0]
    inner = fresh_name(graph, f"{output}.product")
    node.output[0] = inner
    bias = fresh_name(graph, f"{output}.bias")
    _fill(graph.initializer.add(name=bias), value)
    place = 1 + next(i for i, other in enumerate(graph.node) if inner in other.output)
    name = f"{node.name}.bias" if node.name else ""
    graph.node.insert(place, onnx.helper.make_node("Add", [inner, bias], [output], name=name))


def remove_node(graph: onnx.GraphProto, node: onnx.NodeProto, source: str) -> None:
    """Take out a node, and let `source` take the place of its output.

    The node before now makes the value under the output's name, so the readers stay unchanged.
    """
    output = node.output[0]
    graph.node.remove(node)
    for other in graph.node:
        for names in (other.input, other.output):
            for index, name in enumerate(names):
                if name == source:
                    names[index] = output


def drop_newly_unused(graph: onnx.GraphProto, before: onnx.GraphProto) -> None:
    """Remove nodes, initializers and shapes that the changes since `before` left without use."""
    was_live = {tuple(before.node[index].output) for index in live_nodes(before)}
    live = set(live_nodes(graph))
    for index in reversed(range(len(graph.node))):
        if index not in live and tuple(graph.node[index].output) in was_live:
            del graph.node[index]
    were_read, read = _readers(before), _readers(graph)
    outputs = {name for node in graph.node for name in node.output}
    gone = {name for name in were_read if name not in read and name not in outputs}
    for values in (graph.initializer, graph.input, graph.value_info):
        for index in reversed(range(len(values))):
            if values[index].name in gone:
                del values[index]


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes without effect on any output, and unread initializers and inputs."""
    live = set(live_nodes(graph))
    for index in reversed(range(len(graph.node))):
        if index not in live:
            del graph.node[index]
    read = {name for node in graph.node for name in read_by(node)}
    read.update(value.name for value in graph.output)
    made = read.union(name for node in graph.node for name in node.output)
    for values, kept in ((graph.initializer, read), (graph.input, read), (graph.value_info, made)):
        for index in reversed(range(len(values))):
            if values[index].name not in kept:
                del values[index]


def fresh_name(graph: onnx.GraphProto, name: str) -> str:
    """A value name that the graph does not use yet: this one, or with a number behind it."""
    used = {value for node in graph.node for value in (*node.input, *node.output)}
    used.update(each.name for each in (*graph.initializer, *graph.input, *graph.output))
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def set_float(node: onnx.NodeProto, name: str, value: float) -> None:
    """Set a float attribute."""
    for attribute in node.attribute:
        if attribute.name == name:
            attribute.f = value
            return
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _made(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def _readers(graph: onnx.GraphProto) -> Counter[str]:
    """How often each value is read, subgraphs and the graph's outputs included."""
    count = Counter(value.name for value in graph.output)
    for node in graph.node:
        count.update(read_by(node))
    return count


def _fill(tensor: onnx.TensorProto, value: Array) -> None:
    name, doc = tensor.name, tensor.doc_string
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    if doc:
        tensor.doc_string = doc
