"""What lies between DequantizeLinear and QuantizeLinear in a graph.

Where each channel of an activation has its own scale, views on the way have to keep the channels:
then they reshape the maps behind them and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tinyodl.frontend.int8_bounds import bounds_after
from tinyodl.graph import Graph, Node, Quantization, Storage, Tensor
from tinyodl.ops.shared import unused
from tinyodl.ops.shared.quantization import bounds

Q, DQ, VIEW = "QuantizeLinear", "DequantizeLinear", "Reshape"
UNBOUNDED = (-math.inf, math.inf)
_WITH_CHANNELS = {Q: "QuantizeChannels", DQ: "DequantizeChannels"}


@dataclass(frozen=True)
class Made:
    """A QuantizeLinear that makes `y` from the output of `core`, clamped to `within`."""

    core: Node
    within: tuple[float, float]
    y: Tensor
    quantize: Node

    @property
    def to(self) -> Quantization:
        """The quantisation of the output."""
        return quantization_of(self.y)

    @property
    def has_bounds(self) -> bool:
        """Whether all channels are clamped to the same integers, each with its own scale."""
        each = (bounds(replace(self.to, scale=(s,)), *self.within) for s in self.to.scale)
        return len({(of.low, of.high) for of in each}) == 1


def quantization_of(tensor: Tensor) -> Quantization:
    """The quantisation of a tensor that has one."""
    assert tensor.quantization is not None
    return tensor.quantization


def without_views(graph: Graph, name: str) -> str:
    """The tensor that a value is a view of; itself where it is none."""
    while (node := graph.producer.get(name)) and node.op == VIEW:
        name = node.inputs[0]
    return name


def integers_behind(graph: Graph, name: str) -> Tensor | None:
    """The int8 tensor that a float one is dequantised from, views aside."""
    node = graph.producer.get(without_views(graph, name))
    if node is None or node.op != DQ:
        return None
    integers = graph.tensor(node.inputs[0])
    return integers if _has_channels_of(graph, name, integers) else None


def made_before(graph: Graph, quantize: Node) -> Made | None:
    """The operator before a QuantizeLinear, where nobody else reads what lies between."""
    (name,), y = quantize.inputs, graph.tensor(quantize.outputs[0])
    within = UNBOUNDED
    while name not in graph.outputs and len(graph.consumers[name]) == 1:
        node = graph.producer.get(name)
        if node is None:
            return None
        if node.op in ("Relu", "Clip"):
            within = bounds_after(node, within)
        elif node.op != VIEW:
            made = Made(node, within, y, quantize)
            return made if _has_channels_of(graph, name, y) and made.has_bounds else None
        name = node.inputs[0]
    return None


def _has_channels_of(graph: Graph, name: str, integers: Tensor) -> bool:
    """Whether a tensor has the channels of these integers, if each has a scale of its own."""
    single = len(quantization_of(integers).scale) == 1
    return single or graph.shape(name)[:2] == integers.shape[:2]


def with_scales_as_constants(graph: Graph) -> Graph:
    """The graph whose QuantizeLinear and DequantizeLinear with a scale for each channel read it."""
    names, made, nodes = set(graph.tensors), [], []
    for node in graph.nodes:
        held = node.outputs[0] if node.op == Q else node.inputs[0] if node.op == DQ else None
        of = graph.tensor(held).quantization if held else None
        if of is not None and len(of.scale) > 1:
            scales = of.scales(len(of.scale))
            name = unused(f"{node.name}.scales", names)
            made.append(Tensor(name, scales.shape, Storage.FLASH, data=scales))
            node = replace(node, op=_WITH_CHANNELS[node.op], inputs=(*node.inputs, name))
        nodes.append(node)
    return graph.with_tensors(made).with_nodes(nodes) if made else graph
