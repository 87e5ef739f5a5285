"""Passes over the imported graph: a function `Graph -> Graph` each, in the order of `PASSES`.

They remove the temporary nodes of `scope` (those that cannot be removed are problems that `build`
reports) and views that views follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tinyodl.frontend.scope import (
    ADD_CONSTANT,
    BATCH_NORMALIZATION,
    IDENTITY,
    constant_tensor,
)
from tinyodl.graph import Array, Graph, Node, Origin, Tensor
from tinyodl.ops import OPERATORS

Pass = Callable[[Graph], Graph]


def remove_identities(graph: Graph) -> Graph:
    """Without Identity nodes: whoever reads the copy reads the original.

    The graph's output keeps its name: there the original takes the name of the copy. An output that
    is a copy of the input stays one.
    """
    original: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        inputs = tuple(original.get(name, name) for name in node.inputs)
        copies_input = node.outputs[0] in graph.outputs and inputs[0] in graph.inputs
        if node.op == IDENTITY and not copies_input:
            original[node.outputs[0]] = inputs[0]
        else:
            kept.append(replace(node, inputs=inputs))
    taken = {original[name]: name for name in graph.outputs if name in original}
    return graph.with_nodes(
        replace(
            node,
            inputs=tuple(taken.get(name, name) for name in node.inputs),
            outputs=tuple(taken.get(name, name) for name in node.outputs),
        )
        for node in kept
    )


def fold_into_layers(graph: Graph) -> Graph:
    """BatchNormalization and added constants become part of the Conv or Gemm before them.

    Views may lie between. Nobody else may read what the layer makes. Computed in float64.
    """
    nodes = {node.name: node for node in graph.nodes}
    producer = dict(graph.producer)
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        if node.op not in (BATCH_NORMALIZATION, ADD_CONSTANT):
            continue
        (source,), (output,) = node.inputs, node.outputs
        layer = _layer_before(graph, producer, source)
        affine = _affine(node, layer, tensors, source) if layer is not None else None
        if layer is None or affine is None:
            continue
        layer, changed = _folded(layer, affine, tensors)
        if not all(np.isfinite(_value(tensor)).all() for tensor in changed):
            continue
        tensors.update((tensor.name, tensor) for tensor in changed)
        moved = {layer.name: layer}
        last = moved.get(producer[source].name, producer[source])
        moved[last.name] = replace(last, outputs=(output,))
        del nodes[node.name]
        nodes.update(moved)
        producer.update((made.outputs[0], made) for made in moved.values())
    return replace(graph, tensors=tensors).with_nodes(nodes.values())


def merge_views(graph: Graph) -> Graph:
    """Without views of views and views that change nothing; their readers see the first tensor."""
    nodes = []
    first: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "Reshape":
            (x,), (y,) = node.inputs, node.outputs
            first[y] = x = first.get(x, x)
            node = replace(node, inputs=(x,))
            if graph.shape(x) == graph.shape(y):
                node = replace(node, op=IDENTITY, attrs={})
        nodes.append(node)
    return drop_unused(remove_identities(graph.with_nodes(nodes)))


def drop_unused(graph: Graph) -> Graph:
    """Without nodes and tensors that no output depends on."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return graph.with_nodes(reversed(kept))


PASSES: tuple[Pass, ...] = (remove_identities, fold_into_layers, merge_views)


@dataclass(frozen=True)
class _Affine:
    """y = factor * x + offset for each channel of a layer; `factor` None stands for 1."""

    node: str
    factor: Array | None
    offset: Array
    origin: Origin | None  # where the offset lives, when it can be the layer's bias by itself


def _affine(node: Node, layer: Node, tensors: Mapping[str, Tensor], source: str) -> _Affine | None:
    """What the temporary node does to the layer's channels; None if it is not per channel."""
    channels = tensors[layer.inputs[1]].shape[0]
    shape = tensors[source].shape
    if node.op == BATCH_NORMALIZATION:
        axis = 1
        factor, offset = node.attrs["factor"], node.attrs["offset"]
    else:
        axis = 1 if layer.op == "Conv" else len(shape) - 1
        factor, offset = None, node.attrs["constant"]
        if offset.size not in (1, offset.shape[axis] if len(shape) > axis else 0):
            return None
    if len(shape) <= axis or shape[axis] != channels or any(size != 1 for size in shape[:axis]):
        return None
    origin = None
    if factor is None and offset.size == channels:
        origin = Origin(node.name, node.attrs["slot"], node.attrs["initializer"])
    wide = np.broadcast_to(offset.reshape(-1), (channels,)).astype(np.float64)
    return _Affine(node.name, factor, wide, origin)


def _folded(
    layer: Node, affine: _Affine, tensors: Mapping[str, Tensor]
) -> tuple[Node, list[Tensor]]:
    """The layer, and its constants as they are after `affine`."""
    changed = []
    weight, bias = tensors[layer.inputs[1]], tensors.get(layer.inputs[2])
    if affine.factor is not None:
        factor = affine.factor.reshape(-1, *(1,) * (len(weight.shape) - 1))
        changed.append(_changed(weight, _value(weight) * factor, affine.node))
    if bias is not None:
        start = _value(bias) * (1.0 if affine.factor is None else affine.factor)
        changed.append(_changed(bias, start + affine.offset, affine.node))
        return layer, changed
    origin = affine.origin or Origin(layer.name, slot=2, folded=(affine.node,))
    name = f"{layer.name}.bias"
    while name in tensors:
        name += "_"
    changed.append(constant_tensor(name, affine.offset, origin))
    return replace(layer, inputs=(*layer.inputs[:2], name)), changed


def _changed(tensor: Tensor, value: Array, folded: str) -> Tensor:
    assert tensor.origin is not None
    origin = replace(tensor.origin, folded=(*tensor.origin.folded, folded))
    return constant_tensor(tensor.name, value, origin)


def _value(tensor: Tensor) -> Array:
    assert tensor.data is not None
    return tensor.data.astype(np.float64)


def _layer_before(graph: Graph, producer: Mapping[str, Node], name: str) -> Node | None:
    """The Conv or Gemm that makes `name`, through views, when nobody else reads what it makes."""
    while name in producer and name not in graph.outputs and len(graph.consumers[name]) == 1:
        node = producer[name]
        if node.op in OPERATORS and OPERATORS[node.op].layer is not None:
            return node
        if node.op != "Reshape":
            return None
        name = node.inputs[0]
    return None
