"""int8 layers: what lies between DequantizeLinear and QuantizeLinear, where int8 kernels do it.

    DQ -> Conv, or Gemm on one row [-> Relu, Clip] -> Q                  QLinearConv
    DQ, DQ -> Add [-> Relu, Clip] -> Q                                   QLinearAdd
    DQ -> AveragePool, or ReduceMean over a map [-> Relu, Clip] -> Q     QLinearAveragePool
    DQ -> MaxPool [-> Relu, Clip] -> Q                                   QLinearMaxPool
    DQ -> elementwise operators -> Q                                     QLinearLookup
    DQ -> Sigmoid -> Q, the end of a network with one output             as it is
    DQ -> Q of the same scale                                            nothing

DQ and Q stand for DequantizeLinear and QuantizeLinear. Views may lie anywhere in between; they end
up on the int8 side. An input of the network that is only quantised becomes int8 itself. What
matches nothing stays as it is, in float32 between the two: larger, but right.

The weights have to be int8 around zero. A bias of any form becomes int32 in steps of s_x * s_w.
Weights and biases that several layers share stay float32, for each layer has scales of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from math import prod
from typing import Any

from tinyodl.frontend.between import (
    DQ,
    UNBOUNDED,
    VIEW,
    Made,
    Q,
    integers_behind,
    made_before,
    quantization_of,
    with_scales_as_constants,
    without_views,
)
from tinyodl.frontend.equal_quantizers import merge_equal
from tinyodl.frontend.int8_bounds import as_integers, scale_factor
from tinyodl.frontend.int8_layer import layer_integers
from tinyodl.frontend.lookup import Table, clamped, quantized_table, starting, table_of
from tinyodl.frontend.passes import drop_unused, merge_views
from tinyodl.graph import Array, Graph, Node, Storage, Tensor
from tinyodl.ops.shared import ShapeTuple, unused
from tinyodl.ops.shared.int8_columns import scratch_size
from tinyodl.ops.shared.quantization import bounds

_PLAIN = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}


def fuse_quantized(graph: Graph) -> Graph:
    """The graph with int8 layers in the place of float ones between integers."""
    if not any(node.op in (Q, DQ) for node in graph.nodes):
        return graph
    fusing = _Fusing(merge_equal(graph))
    for node in fusing.graph.nodes:
        fusing.visit(node)
    return fusing.result()


class _Fusing:
    """The nodes of the new graph, as far as those of the old one are visited."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.tensors = dict(graph.tensors)
        self.names = set(graph.tensors)
        self.node_names = {node.name for node in graph.nodes}
        self.same: dict[str, str] = {}  # int8 tensors that are others
        self.inputs = {name for name in graph.inputs if self._is_only_quantized(name)}

    def visit(self, node: Node) -> None:
        """Append the node, or what it is the end of."""
        if node.op == Q and self._fuse(node):
            return
        self.nodes.append(replace(node, inputs=tuple(map(self._now, node.inputs))))

    def result(self) -> Graph:
        """The new graph, without what nothing reads any more."""
        graph = replace(self.graph, nodes=tuple(self.nodes), tensors=self.tensors)
        return with_scales_as_constants(merge_views(drop_unused(graph)))

    def _fuse(self, node: Node) -> bool:
        """Whether the nodes that end with this QuantizeLinear could be fused to int8."""
        (x,), y = node.inputs, self.graph.tensor(node.outputs[0])
        root = without_views(self.graph, x)
        if root in self.inputs:
            given = self.graph.tensor(root)
            self.tensors[root] = replace(given, dtype="int8", quantization=y.quantization)
            self._put_view(node.name, root, y)
            return True
        integers = integers_behind(self.graph, x)
        if integers and quantization_of(integers) == quantization_of(y):
            self._put_view(node.name, integers.name, y)
            return True
        made = made_before(self.graph, node)
        if made and made.core.op in _RULES and _RULES[made.core.op](self, made):
            return True
        if self._is_probability(x, y):
            return False
        found = table_of(self.graph, x, quantization_of(y))
        if found:
            self._put_lookup(node.name, *found, y)
        return found is not None

    def _is_probability(self, x: str, y: Tensor) -> bool:
        """Whether x is the Sigmoid of a single output, whose logit a loss reads as a float."""
        core = self.graph.producer.get(without_views(self.graph, x))
        if core is None or core.op != "Sigmoid" or y.size > 1:
            return False
        name = y.name
        while name not in self.graph.outputs and len(self.graph.consumers[name]) == 1:
            (node,) = self.graph.consumers[name]
            if node.op not in (DQ, VIEW):
                return False
            name = node.outputs[0]
        return name in self.graph.outputs

    def _is_only_quantized(self, name: str) -> bool:
        """Whether all readers of an input quantise it alike, views aside."""
        readers, found = [name], set()
        if self.graph.tensor(name).dtype != "float32":
            return False
        while readers:
            for node in self.graph.consumers[readers.pop()]:
                if node.op == VIEW and node.outputs[0] not in self.graph.outputs:
                    readers.append(node.outputs[0])
                else:
                    y = self.graph.tensor(node.outputs[0])
                    found.add(y.quantization if node.op == Q else None)
        (of, *others) = found
        return of is not None and len(of.scale) == 1 and not others

    def _convolution(self, made: Made) -> bool:
        """A Conv."""
        core = made.core
        x, y = self.graph.shape(core.inputs[0]), self.graph.shape(core.outputs[0])
        return self._layer(made, x, y, core.attrs)

    def _dense(self, made: Made) -> bool:
        """A Gemm: a convolution of one pixel, where it has one row."""
        x, y = self.graph.shape(made.core.inputs[0]), self.graph.shape(made.core.outputs[0])
        pixel = (1, x[-1], 1, 1), (1, y[-1], 1, 1)
        return prod(x[:-1]) == 1 and self._layer(made, *pixel, {**_PLAIN, "group": 1})

    def _layer(self, made: Made, x: ShapeTuple, y: ShapeTuple, attrs: Mapping[str, Any]) -> bool:
        """A layer from maps of shape `x` to maps of shape `y`."""
        core = made.core
        integers = integers_behind(self.graph, core.inputs[0])
        w, b = (self.graph.tensor(name) if name else None for name in core.inputs[1:])
        if integers is None or w is None or not self._is_own(w) or w.quantization is None:
            return False
        if b is not None and not self._is_own(b):
            return False
        if len(quantization_of(integers).scale) > 1 and attrs["group"] != x[1]:
            return False  # channels with several scales are summed
        held = layer_integers(w, b, quantization_of(integers), made.to)
        if held is None:
            return False
        weight = held.weight if held.weight.ndim == 4 else held.weight[..., None, None]
        multiplier = self._constant(f"{core.name}.multiplier", held.multiplier)
        self.tensors[w.name] = as_integers(w, weight, held.of_weight)
        if b is not None and held.bias is not None:
            self.tensors[b.name] = as_integers(b, held.bias, held.of_bias)
        size = scratch_size(attrs, x, weight.shape, y)
        scratch = Tensor(unused(f"{core.name}.scratch", self.names), (size,), dtype="int16")
        self.tensors[scratch.name] = scratch
        given = self._view(core, integers, x)
        inputs = (given, w.name, b.name if b is not None else "", multiplier, "", "", "")
        wanted = {**attrs, **asdict(bounds(made.to, *made.within)), "split": None}
        self._put("QLinearConv", made, inputs, y, wanted, ("", "", scratch.name))
        return True

    def _sum(self, made: Made) -> bool:
        """An Add of two tensors of one shape."""
        core = made.core
        shape = self.graph.shape(core.outputs[0])
        a, b = (integers_behind(self.graph, name) for name in core.inputs)
        if a is None or b is None or any(self.graph.shape(n) != shape for n in core.inputs):
            return False
        factors = {
            "a_factor": scale_factor(quantization_of(a), made.to),
            "b_factor": scale_factor(quantization_of(b), made.to),
        }
        if not all(map(math.isfinite, factors.values())):
            return False
        attrs = {**factors, **asdict(bounds(made.to, *made.within))}
        inputs = (self._view(core, a, shape), self._view(core, b, shape))
        self._put("QLinearAdd", made, inputs, shape, attrs)
        return True

    def _average(self, made: Made) -> bool:
        """An AveragePool."""
        x, y = (self.graph.shape(name) for name in (made.core.inputs[0], made.core.outputs[0]))
        return self._average_of(made, x, y, made.core.attrs)

    def _mean(self, made: Made) -> bool:
        """A ReduceMean over all of a map: an average over one window."""
        shape = self.graph.shape(made.core.inputs[0])
        if len(shape) not in (3, 4) or made.core.attrs["axes"] != tuple(range(2, len(shape))):
            return False
        kernel = (1, *shape[2:])[-2:]
        attrs = {**_PLAIN, "kernel": kernel, "beyond": (0, 0), "count_include_pad": 0}
        return self._average_of(made, (*shape[:2], *kernel), (*shape[:2], 1, 1), attrs)

    def _average_of(
        self, made: Made, x: ShapeTuple, y: ShapeTuple, attrs: Mapping[str, Any]
    ) -> bool:
        integers = integers_behind(self.graph, made.core.inputs[0])
        if integers is None:
            return False
        factor = scale_factor(quantization_of(integers), made.to)
        if not math.isfinite(factor):
            return False
        wanted = {**attrs, "factor": factor, **asdict(bounds(made.to, *made.within))}
        inputs = (self._view(made.core, integers, x),)
        self._put("QLinearAveragePool", made, inputs, y, wanted)
        return True

    def _maximum(self, made: Made) -> bool:
        """A MaxPool; where the output is clamped, or quantised otherwise, a table follows."""
        core = made.core
        x, y = (self.graph.shape(name) for name in (core.inputs[0], core.outputs[0]))
        integers = integers_behind(self.graph, core.inputs[0])
        if integers is None:
            return False
        inputs = (self._view(core, integers, x),)
        if quantization_of(integers) == made.to and made.within == UNBOUNDED:
            self._put("QLinearMaxPool", made, inputs, y, core.attrs)
            return True
        if len(quantization_of(integers).scale) > 1:
            return False
        table = quantized_table(clamped(starting(quantization_of(integers)), *made.within), made.to)
        if table is None:
            return False
        name = unused(f"{core.outputs[0]}.integers", self.names)
        most = replace(made.y, name=name, shape=y, quantization=integers.quantization)
        self.tensors[name] = most
        self.nodes.append(Node("QLinearMaxPool", core.name, inputs, (name,), core.attrs))
        self._put_lookup(made.quantize.name, name, table, made.y)
        return True

    def _put(
        self,
        op: str,
        made: Made,
        inputs: tuple[str, ...],
        shape: ShapeTuple,
        attrs: Mapping[str, Any],
        more: tuple[str, ...] = (),
    ) -> None:
        """Append an int8 operator with an output of this shape, and the view that makes it y."""
        y = made.y
        name = y.name if shape == y.shape else unused(f"{y.name}.map", self.names)
        self.tensors[name] = replace(y, name=name, shape=shape)
        self.nodes.append(Node(op, made.core.name, inputs, (name, *more), attrs))
        if name != y.name:
            self._put_view(made.quantize.name, name, y)

    def _put_lookup(self, name: str, x: str, table: Table, y: Tensor) -> None:
        """Append a QLinearLookup."""
        x = self._view(Node("", name, (), ()), self.tensors[x], y.shape)
        held = (
            self._constant(f"{name}.table", table.values),
            self._constant(f"{name}.slopes", table.slopes),
        )
        self.nodes.append(Node("QLinearLookup", name, (x, *held), (y.name,)))

    def _put_view(self, name: str, x: str, y: Tensor) -> None:
        """Let y be the same integers as x."""
        x = self._now(x)
        if self.tensors[x].shape == y.shape:
            self.same[y.name] = x
        else:
            self.nodes.append(Node(VIEW, name, (x,), (y.name,), {"shape": y.shape}))

    def _view(self, core: Node, x: Tensor, shape: ShapeTuple) -> str:
        """The integers of x in the shape that `core` sees."""
        name = self._now(x.name)
        if self.tensors[name].shape == shape:
            return name
        view = unused(f"{name}.view", self.names)
        self.tensors[view] = replace(x, name=view, shape=shape, storage=Storage.ARENA)
        node = unused(f"{core.name}.view", self.node_names)
        self.nodes.append(Node(VIEW, node, (name,), (view,), {"shape": shape}))
        return view

    def _constant(self, name: str, value: Array) -> str:
        made = unused(name, self.names)
        self.tensors[made] = Tensor(made, value.shape, Storage.FLASH, value.dtype.name, value)
        return made

    def _now(self, name: str) -> str:
        """The name of the tensor that holds the values of an old one."""
        return self.same.get(name, name)

    def _is_own(self, tensor: Tensor) -> bool:
        """Whether it is a constant of one layer."""
        return tensor.data is not None and len(self.graph.consumers[tensor.name]) == 1


_RULES: dict[str, Callable[[_Fusing, Made], bool]] = {
    "Conv": _Fusing._convolution,
    "Gemm": _Fusing._dense,
    "Add": _Fusing._sum,
    "AveragePool": _Fusing._average,
    "ReduceMean": _Fusing._mean,
    "MaxPool": _Fusing._maximum,
}
