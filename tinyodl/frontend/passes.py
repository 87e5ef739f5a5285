"""Passes over the imported graph: a function `Graph -> Graph` each, in the order of `simplify`.

They remove copies, nodes that a layer can absorb, and views followed by views. `build` reports
nodes that must not be left over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from tinyodl.graph import Array, Graph, Node, Origin, Quantization, Tensor
from tinyodl.ops import OPERATORS, weights_of
from tinyodl.ops.hashed_gemm import hashed_weights
from tinyodl.ops.shared import Affine, Layer, constant_tensor, unused

IDENTITY = "Identity"

Learns = Callable[[str], bool]  # whether the plan lets the layer of that name learn


def remove_identities(graph: Graph) -> Graph:
    """The graph without Identity nodes: readers of the copy read the original.

    The first output keeps its name: there the original takes the name of the copy. If it is a copy
    of the input, it stays one.
    """
    original: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        inputs = tuple(original.get(name, name) for name in node.inputs)
        copies_input = node.outputs[0] == graph.outputs[0] and inputs[0] in graph.inputs
        if node.op == IDENTITY and not copies_input:
            original[node.outputs[0]] = inputs[0]
        else:
            kept.append(replace(node, inputs=inputs))
    output = graph.outputs[0]
    taken = {original[output]: output} if output in original else {}
    others = (original.get(name, name) for name in graph.outputs[1:])
    outputs = (output, *(taken.get(name, name) for name in others))
    return replace(graph, outputs=outputs).with_nodes(
        replace(
            node,
            inputs=tuple(taken.get(name, name) for name in node.inputs),
            outputs=tuple(taken.get(name, name) for name in node.outputs),
        )
        for node in kept
    )


def fold_into_layers(graph: Graph, learns: Learns) -> Graph:
    """A node that scales and shifts each channel becomes part of the layer before it; see `fold`.

    Views may lie between. The layer's output and the changed constants must have no other readers.
    A node that is a layer itself is not folded if it learns. Computed in float64.
    """
    fold = _Fold(graph)
    for node in graph.nodes:
        rule = OPERATORS[node.op].fold if node.op in OPERATORS else None
        if rule is None or (weights_of(node, graph) and learns(node.name)):
            continue
        affine = rule(node, graph)
        if affine is not None:
            fold.absorb(node, affine)
    return replace(graph, tensors=fold.tensors).with_nodes(fold.nodes.values())


def merge_views(graph: Graph) -> Graph:
    """The graph without views of views and views without effect: readers see the first tensor."""
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
    """The graph without nodes and tensors on which no output depends."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return graph.with_nodes(reversed(kept))


def simplify(graph: Graph, learns: Learns) -> Graph:
    """All passes, in their order."""
    return merge_views(fold_into_layers(remove_identities(graph), learns))


class _Fold:
    """The graph while nodes are folded into layers; constants that have several uses stay."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.producer = dict(graph.producer)
        self.tensors = dict(graph.tensors)
        self.shared = {n for n in graph.constants if len(graph.consumers[n]) > 1}
        self.joint: dict[str, str] = {}  # the bias that a shared constant becomes

    def absorb(self, node: Node, affine: Affine) -> None:
        """Fold `node` into the layer before it, if it can be."""
        source, output = node.inputs[0], node.outputs[0]
        layer = self._layer_before(source)
        if layer is None or not self._per_channel(affine, layer, source):
            return
        folded = self._folded(layer, affine, node)
        if folded is None:
            return
        layer, changed = folded
        if not all(np.isfinite(_value(tensor)).all() for tensor in changed):
            return
        self.tensors.update((tensor.name, tensor) for tensor in changed)
        moved = {layer.name: layer}
        last = moved.get(self.producer[source].name, self.producer[source])
        moved[last.name] = replace(last, outputs=(output,))
        del self.nodes[node.name]
        self.nodes.update(moved)
        self.producer.update((made.outputs[0], made) for made in moved.values())

    def _layer_before(self, name: str) -> Node | None:
        """The layer that makes `name`, through views, if its output has no other readers."""
        while (
            name in self.producer
            and name not in self.graph.outputs
            and len(self.graph.consumers[name]) == 1
        ):
            node = self.producer[name]
            layer = OPERATORS[node.op].layer if node.op in OPERATORS else None
            if layer is not None:
                absorbs = layer.channel_axis is not None and weights_of(node, self.graph)
                return node if absorbs else None
            if node.op != "Reshape":
                return None
            name = node.inputs[0]
        return None

    def _per_channel(self, affine: Affine, layer: Node, source: str) -> bool:
        """Whether the folded constants have one value for each channel, seen through the views."""
        made = self.tensors[layer.outputs[0]].shape
        (axis,) = (a for a in (_layer(layer).channel_axis,) if a is not None)
        axis %= len(made)
        view = self.tensors[source].shape
        outer, channels = prod(made[:axis]), made[axis]
        axes = [i for i in range(len(view)) if prod(view[:i]) == outer and view[i] == channels]
        given = [affine.offset] if affine.factor is None else [affine.offset, affine.factor]
        return bool(axes) and all(
            value.size == 1 or (value.shape[axes[0]] == value.size == channels) for value in given
        )

    def _folded(self, layer: Node, affine: Affine, node: Node) -> tuple[Node, list[Tensor]] | None:
        """The layer, and its constants as they are after `affine`; None if they are shared."""
        slot, (bias_slot, *_) = _layer(layer).weights[0], _layer(layer).biases
        weight, bias = self.tensors[layer.inputs[slot]], self.tensors.get(layer.inputs[bias_slot])
        channels = weight.shape[0]
        changed = []
        if affine.factor is not None:
            if weight.name in self.shared:
                return None
            factor = _wide(affine.factor, channels)
            changed.append(_multiplied(weight, factor, node.name))
        offset = _wide(affine.offset, channels)
        if bias is not None:
            if bias.name in self.shared or bias.data is None:
                return None
            start = _value(bias) * (1.0 if affine.factor is None else factor)
            changed.append(_changed(bias, start + offset, node.name))
            return layer, changed
        made = self._new_bias(layer, bias_slot, affine, node, offset)
        inputs = list(layer.inputs)
        inputs[bias_slot] = made.name
        return replace(layer, inputs=tuple(inputs)), [*changed, made]

    def _new_bias(
        self, layer: Node, slot: int, affine: Affine, node: Node, offset: Array
    ) -> Tensor:
        """The bias of a layer that had none; what several nodes added stays one tensor."""
        if affine.factor is not None or affine.origin is None or affine.offset.size != offset.size:
            origin = Origin(layer.name, slot, folded=(node.name,))
            return constant_tensor(unused(f"{layer.name}.bias", set(self.tensors)), offset, origin)
        constant = node.inputs[1]
        if constant not in self.shared:
            name = unused(f"{layer.name}.bias", set(self.tensors))
            return constant_tensor(name, offset, affine.origin)
        if constant not in self.joint:
            self.joint[constant] = unused(f"{constant}.bias", set(self.tensors))
            self.shared.add(self.joint[constant])
        return constant_tensor(self.joint[constant], offset, affine.origin)


def _layer(node: Node) -> Layer:
    layer = OPERATORS[node.op].layer
    assert layer is not None
    return layer


def _wide(value: Array, channels: int) -> Array:
    return np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float64)


def _changed(tensor: Tensor, value: Array, folded: str) -> Tensor:
    assert tensor.origin is not None
    origin = replace(tensor.origin, folded=(*tensor.origin.folded, folded))
    return constant_tensor(tensor.name, value, origin)


def _multiplied(weight: Tensor, factor: Array, folded: str) -> Tensor:
    """A weight times a factor for each channel; of a quantised one, the scales are multiplied."""
    each = factor.reshape(-1, *(1,) * (len(weight.shape) - 1))
    if weight.quantization is not None and factor.all():
        scales = weight.quantization.scales(factor.size)
        q = np.rint(_value(weight) / scales.reshape(each.shape)) * np.sign(each)
        scales = np.abs(scales * factor).astype(np.float32)
        if q.max() < 128:
            exact = (q * scales.reshape(each.shape)).astype(np.float32)
            quantization = Quantization(tuple(float(scale) for scale in scales))
            return replace(_changed(weight, exact, folded), quantization=quantization)
    return _changed(weight, _value(weight) * each, folded)


def _value(tensor: Tensor) -> Array:
    assert tensor.data is not None
    return tensor.data.astype(np.float64)


def with_hashed_layer(graph: Graph, name: str, seed: int) -> Graph:
    """The graph with this dense layer as `HashedGemm`: its weights are the hash of the seed."""
    [layer] = [node for node in graph.nodes if node.name == name]
    x, w, b = layer.inputs
    outputs, inputs = graph.shape(w)
    given = [graph.tensor(each).data for each in (w, b)]
    for held, hash_ in zip(given, hashed_weights(seed, outputs, inputs), strict=True):
        if held is None or not np.array_equal(held, hash_):
            raise ValueError(f"the weights of {name} are not the hash of {seed}")
    hashed = replace(layer, op="HashedGemm", inputs=(x,), attrs={"outputs": outputs, "seed": seed})
    return graph.with_nodes(hashed if node is layer else node for node in graph.nodes)
