"""What is known while the nodes of an ONNX file are imported one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx

from tinyodl.frontend.problems import UnknownInput, Unsupported
from tinyodl.graph import Array, Graph, Node, Origin, Storage, Tensor
from tinyodl.ops import output_shape

MAX_ELEMENTS = 1 << 26  # of one tensor; no microcontroller comes near

# Nodes that only live inside the frontend: passes fold or remove them.
IDENTITY = "Identity"
BATCH_NORMALIZATION = "BatchNormalization"  # attrs: factor, offset (one per channel, axis 1)
ADD_CONSTANT = "AddConstant"  # attrs: constant, slot, initializer
OPAQUE = "Unsupported"  # stands for a node that could not be imported
TEMPORARY = (IDENTITY, BATCH_NORMALIZATION, ADD_CONSTANT, OPAQUE)


@dataclass(frozen=True)
class OnnxNode:
    """An ONNX node with its unique name and its attributes as Python values."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    opset: int

    def input(self, slot: int) -> str:
        """The name in an input slot, "" when it is absent."""
        return self.inputs[slot] if slot < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attrs.get(name, default)
        if not isinstance(value, int):
            raise Unsupported(f"attribute {name} is {value!r}", "an integer")
        return value

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        value = self.attrs.get(name, default)
        if not isinstance(value, float):
            raise Unsupported(f"attribute {name} is {value!r}", "a number")
        return value

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute with as many integers as the default."""
        values = self.attrs.get(name, default)
        if not isinstance(values, Sequence) or not all(isinstance(v, int) for v in values):
            raise Unsupported(f"attribute {name} is {values!r}", "a list of integers")
        if len(values) != len(default):
            raise Unsupported(f"attribute {name} has {len(values)} values", f"{len(default)}")
        return tuple(values)


@dataclass
class Scope:
    """The graph as far as it is imported, the constants, and the names in use."""

    initializers: frozenset[str]
    read: frozenset[str]  # values that a node or the graph's output uses
    names: set[str]  # of all values in the file and all tensors made
    node_names: set[str]
    constants: dict[str, Array] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def activation(self, node: OnnxNode, slot: int) -> Tensor:
        """The computed tensor in an input slot."""
        name = node.input(slot)
        if name in self.tensors:
            return self.tensors[name]
        if name in self.constants:
            raise Unsupported(f"input '{name}' is a constant", "an input that is computed")
        if not name:
            raise Unsupported(f"input {slot} is absent", "an input that is computed")
        raise UnknownInput

    def constant(self, node: OnnxNode, slot: int) -> Array:
        """The value in an input slot, which has to be known at compile time."""
        name = node.input(slot)
        if name in self.constants:
            return self.constants[name]
        if not name:
            raise Unsupported(f"input {slot} is absent", "a constant there")
        if name in self.tensors:
            raise Unsupported(f"input '{name}' is not a constant", "a constant there")
        raise UnknownInput

    def optional(self, node: OnnxNode, slot: int) -> Array | None:
        """The constant in an input slot, None when the input is absent."""
        return self.constant(node, slot) if node.input(slot) else None

    def floats(self, node: OnnxNode, slot: int) -> Array:
        """The float32 constant in an input slot; all its values have to be finite."""
        value = self.constant(node, slot)
        name = node.input(slot)
        if value.dtype != np.float32:
            raise Unsupported(f"'{name}' is {value.dtype}", "float32")
        if not np.isfinite(value).all():
            raise Unsupported(f"'{name}' holds values that are not finite", "finite numbers")
        if not 0 < value.size <= MAX_ELEMENTS:
            raise Unsupported(f"'{name}' has {value.size} elements", f"1 to {MAX_ELEMENTS}")
        return value

    def parameter(
        self, node: OnnxNode, slot: int, data: Array, transform: str = "none", scale: float = 1.0
    ) -> str:
        """Add the constant tensor that `data` becomes, with its origin; returns its name.

        Each use of an initializer becomes a tensor of its own, because each may learn by itself.
        """
        if not np.isfinite(data).all():
            raise Unsupported(f"its constants times {scale:g} are too large", "finite constants")
        source = node.input(slot)
        initializer = source if source in self.initializers else None
        name = source if source not in self.tensors else self.fresh(f"{source}@{node.name}")
        origin = Origin(node.name, slot, initializer, transform, scale)
        return self.add(constant_tensor(name, data, origin))

    def emit(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        output: str,
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        """Append a node; the output gets the shape that the operator's own rule gives."""
        node = Node(op, name, tuple(inputs), (output,), attrs or {})
        if op in TEMPORARY:
            shape = self.tensors[inputs[0]].shape
        else:
            shape = output_shape(node, Graph((), self.tensors, (), ()))
        if not all(dimension > 0 for dimension in shape):
            raise Unsupported(f"its output has the shape {shape}", "sizes of at least 1")
        if prod(shape) > MAX_ELEMENTS:
            raise Unsupported(f"its output has the shape {shape}", f"{MAX_ELEMENTS} elements")
        self.nodes.append(node)
        return self.add(Tensor(output, shape))

    def view(self, node: OnnxNode, x: str, shape: Sequence[int], output: str = "") -> str:
        """See a tensor with another shape, on the way to or from the operator that `node` becomes.

        Returns the name of the view; `x` itself where nothing changes and no `output` is asked for.
        """
        if not output and tuple(shape) == self.tensors[x].shape:
            return x
        output = output or self.fresh(f"{x}.view")
        return self.reshape(self.fresh_node(f"{node.name}.view"), x, shape, output)

    def reshape(self, name: str, x: str, shape: Sequence[int], output: str) -> str:
        """Append a Reshape node."""
        given = self.tensors[x]
        if prod(shape) != given.size:
            raise Unsupported(
                f"the shape {tuple(shape)} cannot hold its input of shape {given.shape}",
                "as many elements as before",
            )
        return self.emit("Reshape", name, (x,), output, {"shape": tuple(shape)})

    def add(self, tensor: Tensor) -> str:
        """Add a tensor; returns its name."""
        self.tensors[tensor.name] = tensor
        self.names.add(tensor.name)
        return tensor.name

    def fresh(self, name: str) -> str:
        """A tensor name that is not in use yet: this one, or with a number behind it."""
        return _unused(name, self.names)

    def fresh_node(self, name: str) -> str:
        """A node name that is not in use yet."""
        return _unused(name, self.node_names)


def constant_tensor(name: str, data: Array, origin: Origin) -> Tensor:
    """A float32 constant in flash."""
    with np.errstate(over="ignore"):
        value = np.ascontiguousarray(data, dtype=np.float32)
    return Tensor(name, value.shape, Storage.FLASH, data=value, origin=origin)


def node_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """A unique name for every node: its own, or `<op>_<index>` when it has none.

    A name that several nodes share is kept by the first; the result depends on the file alone.
    """
    used = {node.name for node in graph.node if node.name}
    seen: set[str] = set()
    names = []
    for index, node in enumerate(graph.node):
        name = node.name
        if not name or name in seen:
            name = _unused(f"{name or node.op_type}_{index}", used)
        seen.add(name)
        names.append(name)
    return tuple(names)


def live_nodes(graph: onnx.GraphProto) -> list[int]:
    """The indices of the nodes that the graph's outputs depend on, in the order of the file."""
    needed = {value.name for value in graph.output}
    live = []
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed.intersection(name for name in node.output if name):
            live.append(index)
            needed.update(name for name in node.input if name)
    return live[::-1]


def _unused(name: str, used: set[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not in `used`; it is added there."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate
