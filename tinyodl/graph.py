"""The intermediate representation: one `Graph` for inference, training and code generation.

A `Graph` is a list of nodes in execution order over named tensors. Gradient and update nodes are
ordinary nodes: their shapes, lifetimes, costs and kernel calls follow from the same tables as those
of forward nodes. Graphs are immutable; a pass is a function `Graph -> Graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T")


class Storage(StrEnum):
    """Where a tensor lives on the device."""

    ARENA = "arena"  # an activation or a gradient: alive for a part of one step
    FLASH = "flash"  # a constant: frozen weights
    PARAMETER = "parameter"  # learns: a copy in RAM, its initial value in flash
    STATE = "state"  # starts at zero and survives steps: optimiser moments, gradient sums


class Phase(StrEnum):
    """The part of a training step that a node belongs to; the firmware counts each by itself."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UPDATE = "update"


@dataclass(frozen=True)
class Origin:
    """Where a constant came from in the ONNX file, so that `export` can write it back.

    `transform` turned the ONNX value into this tensor's value ("none" or "transpose", then a
    product with `scale`); `export` applies the inverse. A change of shape alone has no name: the
    ONNX value's own shape is restored.
    `node` and `slot` name the consuming ONNX node's input (slot = index into its inputs; for an
    absent input, such as a missing bias, the number of inputs or more).
    `folded` names ONNX nodes that were folded into the value (a BatchNormalization, the Add of a
    bias): when the tensor has learned, `export` removes them.
    `tied` names further (node, slot) uses of the same value: one tensor, which learns as one.
    `quantized` names the integers the value was dequantised from: an initializer, or a value made
    of constants. `export` writes the learned values there, as integers.
    """

    node: str
    slot: int
    initializer: str | None = None
    transform: str = "none"
    scale: float = 1.0
    folded: tuple[str, ...] = ()
    tied: tuple[tuple[str, int], ...] = ()
    quantized: str | None = None


@dataclass(frozen=True)
class Quantization:
    """The real value of a tensor's integers: real = scale * (q - zero_point).

    `scale` has one value, or one for each index of an axis: axis 0 of a weight or bias, axis 1, the
    channels, of an activation; all are float32 numbers. An activation is int8, a weight int8 with
    zero_point 0, a bias int32 with zero_point 0.
    A float32 constant with a `Quantization` has only such real values, exactly.
    """

    scale: tuple[float, ...]
    zero_point: int = 0

    def scales(self, count: int) -> Array:
        """The scale of each of `count` channels, float32.

        Those of fewer channels are repeated: each input channel of a depthwise layer makes as many
        output channels.
        """
        scale: Array = np.asarray(self.scale, np.float32)
        return np.repeat(scale, count // scale.size)

    def quantize(self, values: Array) -> Array:
        """Real numbers as int8, exactly as ONNX's QuantizeLinear: in float32, ties to even.

        Values out of range are saturated.
        """
        with np.errstate(over="ignore"):
            steps = np.rint(np.asarray(values, np.float32) / np.float32(self.scale[0]))
        made: Array = np.clip(steps + np.float32(self.zero_point), -128, 127).astype(np.int8)
        return made


@dataclass(frozen=True)
class Tensor:
    """A value: shape with the batch dimension of 1 as in ONNX, dtype float32 unless said."""

    name: str
    shape: tuple[int, ...]
    storage: Storage = Storage.ARENA
    dtype: str = "float32"
    data: Array | None = field(default=None, compare=False)
    origin: Origin | None = None
    quantization: Quantization | None = None

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @cached_property
    def itemsize(self) -> int:
        """Bytes of one element on the device."""
        return np.dtype(self.dtype).itemsize

    @cached_property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.size * self.itemsize


@dataclass(frozen=True)
class Node:
    """One operation; `inputs` may hold "" for an absent optional input, as in ONNX."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    phase: Phase = Phase.FORWARD


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order. `inputs` and `outputs` are tensor names."""

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producer(self) -> dict[str, Node]:
        """The node that writes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in execution order; `()` if nobody reads it."""
        found: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def remember(self, what: str, make: Callable[[], T]) -> T:
        """The result of `make`, computed once and kept: a graph never changes."""
        known = vars(self)  # where cached properties are too
        if what not in known:
            known[what] = make()
        found: T = known[what]
        return found

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; KeyError if there is none."""
        return self.tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor of that name."""
        return self.tensors[name].shape

    def with_tensors(self, tensors: Iterable[Tensor]) -> Graph:
        """The same graph with these tensors added or replaced."""
        return replace(self, tensors={**self.tensors, **{t.name: t for t in tensors}})

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with these nodes, and only the tensors of these nodes and of its edges.

        All of `Storage.STATE` stays, too: the samples of a batch are counted outside the nodes.
        """
        kept = tuple(nodes)
        used = {*self.inputs, *self.outputs}
        for node in kept:
            used.update(node.inputs, node.outputs)
        tensors = {n: t for n, t in self.tensors.items() if n in used or t.storage is Storage.STATE}
        return replace(self, nodes=kept, tensors=tensors)

    @property
    def constants(self) -> dict[str, Tensor]:
        """Tensors with a value known at compile time."""
        return {n: t for n, t in self.tensors.items() if t.data is not None}


def of_one_sample(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample's own part of a tensor: without the batch of 1, where there is one."""
    return shape[1:] if shape[:1] == (1,) else shape


def parameters(graph: Graph) -> list[Tensor]:
    """The tensors kept between steps, in the order of the protocol: parameters, then state."""
    tensors = graph.tensors.values()
    return [t for t in tensors if t.storage is Storage.PARAMETER] + [
        t for t in tensors if t.storage is Storage.STATE
    ]


def has_initial(tensor: Tensor) -> bool:
    """Whether a kept tensor has initial values in flash; else it begins with zeros."""
    return tensor.data is not None and bool(tensor.data.any())
