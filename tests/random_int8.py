"""Random networks of int8 maps, as the IR has them: convolutions of all kinds, pools, shortcuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.graph import Graph, Node, Quantization, Storage, Tensor
from tinyodl.ops import output_shapes
from tinyodl.ops.shared.quantization import bounds

POINTWISE = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
SAME_3X3 = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


def random_maps(seed: int, steps: int = 7) -> Graph:
    """int8 x (1, C, H, W) -> maps -> float32 y (1, N), one run of nodes that work by rows."""
    draw = np.random.default_rng(seed)
    maps = Maps(draw, (1, *(int(size) for size in draw.integers((1, 5, 3), (4, 15, 10)))))
    for _ in range(steps):
        maps.grow()
    return maps.graph()


class Maps:
    """A network of int8 maps that grows from its input `x`; `last` is what it ends with."""

    def __init__(self, draw: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.draw = draw
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.last = self.add("x", shape)

    def integer(self, low: int, high: int) -> int:
        return int(self.draw.integers(low, high + 1))

    def add(self, name: str, shape: tuple[int, ...]) -> str:
        of = Quantization((0.5,), self.integer(-20, 20))
        self.tensors[name] = Tensor(name, shape, dtype="int8", quantization=of)
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.tensors[name] = Tensor(name, value.shape, Storage.FLASH, str(value.dtype), value)
        return name

    def node(self, op: str, inputs: tuple[str, ...], attrs: dict[str, object]) -> None:
        """A node behind the others, with one output that is from now on the last map."""
        made = f"m{len(self.nodes)}"
        scratch = ("", "", f"{made}.scratch") if op == "QLinearConv" else ()
        node = Node(op, made, inputs, (made, *scratch), attrs)
        shape, *others = output_shapes(node, Graph((), self.tensors, (), ()))
        for name, size in zip(scratch, others, strict=True):
            if name:
                self.tensors[name] = Tensor(name, size, dtype="int16")
        of = bounds(self.tensors[self.add(made, shape)].quantization)
        cut = {k: getattr(of, k) for k in ("low", "high", "pass_low", "pass_high")}
        self.nodes.append(replace(node, attrs={**attrs, **cut}))
        self.last = made

    def windows(self) -> tuple[tuple[int, int], dict[str, object]]:
        """A kernel and its attributes, so that the output has at least one row and column."""
        kernel, pads, strides, dilations = [], [], [], []
        for size in self.tensors[self.last].shape[2:]:
            k, pad, d = self.integer(1, 4), self.integer(0, 2), self.integer(1, 2)
            if (k - 1) * d + 1 > size or pad >= k:
                k, pad, d = 1, 0, 1
            kernel.append(k)
            pads.append(pad)
            dilations.append(d)
            strides.append(self.integer(1, 2))
        attrs = {"strides": strides, "pads": [*pads, *pads], "dilations": dilations}
        return (kernel[0], kernel[1]), {key: tuple(value) for key, value in attrs.items()}

    def grow(self) -> None:
        kinds = (self.convolution, self.convolution, self.depthwise, self.pointwise, self.pool)
        kinds[self.integer(0, len(kinds) - 1)]()
        shape = self.tensors[self.last].shape
        same = [n.outputs[0] for n in self.nodes[:-1] if self.tensors[n.outputs[0]].shape == shape]
        if same and self.integer(0, 2):
            self.shortcut(same[self.integer(0, len(same) - 1)])

    def shortcut(self, other: str) -> None:
        self.node("QLinearAdd", (other, self.last), {"a_factor": 0.75, "b_factor": 0.5})

    def convolution(self) -> None:
        kernel, attrs = self.windows()
        self.layer(self.integer(1, 5), kernel, attrs)

    def depthwise(self) -> None:
        kernel, attrs = self.windows()
        channels = self.tensors[self.last].shape[1]
        self.layer(channels, kernel, attrs, group=channels)

    def pointwise(self) -> None:
        self.layer(self.integer(1, 6), (1, 1), POINTWISE)

    def layer(
        self, outputs: int, kernel: tuple[int, int], attrs: dict[str, object], group: int = 1
    ) -> None:
        stem, channels = f"c{len(self.nodes)}", self.tensors[self.last].shape[1]
        w = self.draw.integers(-127, 128, (outputs, channels // group, *kernel)).astype(np.int8)
        multiplier = self.draw.uniform(0.002, 0.01, outputs).astype(np.float32)
        operands = (
            self.last,
            self.constant(f"{stem}.w", w),
            self.constant(f"{stem}.b", self.draw.integers(-500, 500, outputs).astype(np.int32)),
            self.constant(f"{stem}.multiplier", multiplier),
            *("", "", ""),
        )
        self.node("QLinearConv", operands, {**attrs, "group": group, "split": None})

    def pool(self) -> None:
        kernel, attrs = self.windows()
        attrs |= {"kernel": kernel}
        if self.integer(0, 1):
            self.node("QLinearMaxPool", (self.last,), attrs)
        else:
            count = {"count_include_pad": bool(self.integer(0, 1)), "factor": 1.25}
            self.node("QLinearAveragePool", (self.last,), attrs | count)

    def graph(self) -> Graph:
        """What the last map depends on, then the way to float32 (1, N)."""
        needed, nodes = {self.last}, []
        for node in reversed(self.nodes):
            if node.outputs[0] in needed:
                needed.update(node.inputs)
                nodes.insert(0, node)
        shape = self.tensors[self.last].shape
        flat = (1, int(np.prod(shape)))
        self.tensors |= {"real": Tensor("real", shape), "y": Tensor("y", flat)}
        nodes.append(Node("DequantizeLinear", "real", (self.last,), ("real",)))
        nodes.append(Node("Reshape", "y", ("real",), ("y",), {"shape": flat}))
        return Graph(tuple(nodes), self.tensors, ("x",), ("y",)).with_nodes(nodes)
