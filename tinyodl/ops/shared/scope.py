"""The state of an import, while the nodes of an ONNX file are imported one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from tinyodl.graph import Array, Graph, Node, Origin, Quantization, Storage, Tensor
from tinyodl.ops.shared.importer import OnnxNode, UnknownInput, Unsupported
from tinyodl.ops.shared.operator import (
    output_shapes,
)

MAX_ELEMENTS = 1 << 26  # of one tensor; no microcontroller comes near


@dataclass(frozen=True)
class Integers:
    """The integers a constant was dequantised from.

    name    the value of the file with the integers.
    scale   one, or one for each index of an axis, float32.
    int8    whether they are int8 around 0, or uint8 around 128.
    """

    name: str
    scale: Array
    int8: bool

    def quantization(self, data: Array) -> Quantization | None:
        """The quantisation of a constant made of these numbers; None if not exactly int8."""
        if not self.int8 or self.scale.size not in (1, *data.shape[:1]):
            return None
        scale = self.scale.reshape(-1, *(1,) * (data.ndim - 1))
        q = np.rint(data / scale)
        if np.abs(q + 0.5).max() > 127.5 or not np.array_equal(q * scale, data):
            return None
        return Quantization(tuple(float(value) for value in self.scale.reshape(-1)))


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
    tied: dict[tuple[object, ...], str] = field(default_factory=dict)  # constants by use
    dequantized: dict[str, Integers] = field(default_factory=dict)  # constants made of integers
    reals: dict[tuple[str, ...], str] = field(default_factory=dict)  # real values of integers
    unsigned: set[str] = field(default_factory=set)  # int8 tensors that are uint8 in the file

    def operand(self, node: OnnxNode, slot: int) -> Tensor:
        """The tensor in an input slot: computed, or a float32 constant that will lie in flash."""
        if node.input(slot) in self.constants:
            return self.tensors[self.parameter(node, slot, self.floats(node, slot))]
        return self.activation(node, slot)

    def activation(self, node: OnnxNode, slot: int) -> Tensor:
        """The computed float32 tensor in an input slot."""
        tensor = self.computed(node, slot)
        if tensor.dtype != "float32":
            raise Unsupported(f"input '{tensor.name}' holds integers", "DequantizeLinear before it")
        return tensor

    def computed(self, node: OnnxNode, slot: int) -> Tensor:
        """The computed tensor in an input slot, float32 or int8."""
        name = node.input(slot)
        if name in self.constants:
            raise Unsupported(f"input '{name}' is a constant", "an input that is computed")
        if name in self.tensors:
            return self.tensors[name]
        if not name:
            raise Unsupported(f"input {slot} is absent", "an input that is computed")
        raise UnknownInput

    def is_int8(self, name: str) -> bool:
        """Whether a value is a computed tensor of integers."""
        return name in self.tensors and self.tensors[name].dtype == "int8"

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

    def integers(self, node: OnnxNode, slot: int) -> tuple[int, ...]:
        """The constant integers in an input slot."""
        value = self.constant(node, slot)
        if value.dtype.kind != "i":
            raise Unsupported(f"'{node.input(slot)}' is {value.dtype}", "integers")
        return tuple(int(number) for number in value.reshape(-1))

    def parameter(
        self, node: OnnxNode, slot: int, data: Array, transform: str = "none", scale: float = 1.0
    ) -> str:
        """Add the constant tensor that `data` becomes, with its origin; returns its name.

        Uses of one ONNX value with the same transform and shape share one tensor: they are tied,
        and learn together. A value that is used in two layouts becomes two tensors.
        """
        if not np.isfinite(data).all():
            raise Unsupported(f"its constants times {scale:g} are too large", "finite constants")
        source = node.input(slot)
        use = (source, transform, scale, data.shape)
        if use in self.tied:
            shared = self.tensors[self.tied[use]]
            assert shared.origin is not None
            tied = (*shared.origin.tied, (node.name, node.slot_in_file(slot)))
            return self.add(replace(shared, origin=replace(shared.origin, tied=tied)))
        initializer = source if source in self.initializers else None
        name = source if source not in self.tensors else self.fresh(f"{source}@{node.name}")
        integers = self.dequantized.get(source)
        origin = Origin(
            node.name,
            node.slot_in_file(slot),
            initializer,
            transform,
            scale,
            quantized=integers.name if integers else None,
        )
        self.tied[use] = name
        tensor = constant_tensor(name, data, origin)
        quantization = integers.quantization(data) if integers else None
        return self.add(replace(tensor, quantization=quantization))

    def emit(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        output: str,
        attrs: Mapping[str, Any] | None = None,
        quantization: Quantization | None = None,
    ) -> str:
        """Append a node; the output gets the shape that the operator's own rule gives.

        It is int8 where a `quantization` is given.
        """
        (made,) = self.emit_several(op, name, inputs, (output,), attrs)
        if quantization is not None:
            self.add(replace(self.tensors[made], dtype="int8", quantization=quantization))
        return made

    def emit_several(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
    ) -> tuple[str, ...]:
        """`emit` for a node with several outputs; one named "" gets a name that nobody uses."""
        made = tuple(output or self.fresh(f"{name}.{i}") for i, output in enumerate(outputs))
        node = Node(op, name, tuple(inputs), made, attrs or {})
        shapes = output_shapes(node, Graph((), self.tensors, (), ()))
        for shape in shapes:
            if not all(dimension > 0 for dimension in shape):
                raise Unsupported(f"its output has the shape {shape}", "sizes of at least 1")
            if prod(shape) > MAX_ELEMENTS:
                raise Unsupported(f"its output has the shape {shape}", f"{MAX_ELEMENTS} elements")
        self.nodes.append(node)
        for output, shape in zip(made, shapes, strict=True):
            self.add(Tensor(output, shape))
        return made

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

    def axes(self, node: OnnxNode, rank: int, since_input: int) -> tuple[int, ...] | None:
        """The axes counted from the front; None when there are none.

        They are an attribute before opset `since_input`, and a constant in input slot 1 after.
        """
        axes = self.written_axes(node, since_input)
        return from_the_front(axes, rank) if axes else None

    def written_axes(self, node: OnnxNode, since_input: int) -> tuple[int, ...] | None:
        """The axes as they are written."""
        if node.opset < since_input:
            values = node.attrs.get("axes")
            return None if values is None else node.integers("axes", values)
        return self.integers(node, 1) if node.input(1) else None

    def uses_output(self, node: OnnxNode, slot: int) -> bool:
        """Whether anything reads this output of the node, or a later one."""
        return any(name in self.read for name in node.outputs[slot:] if name)

    def add(self, tensor: Tensor) -> str:
        """Add a tensor; returns its name."""
        self.tensors[tensor.name] = tensor
        self.names.add(tensor.name)
        return tensor.name

    def rename(self, name: str, new: str) -> None:
        """Give a tensor another name, which nodes read and write from now on."""
        names = {name: new}
        self.nodes = [
            replace(
                node,
                inputs=tuple(names.get(each, each) for each in node.inputs),
                outputs=tuple(names.get(each, each) for each in node.outputs),
            )
            for node in self.nodes
        ]
        self.add(replace(self.tensors.pop(name), name=new))

    def fresh(self, name: str) -> str:
        """A tensor name that is not in use yet: this one, or with a number behind it."""
        return unused(name, self.names)

    def fresh_node(self, name: str) -> str:
        """A node name that is not in use yet."""
        return unused(name, self.node_names)


def from_the_front(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes of a tensor with `rank` dimensions, each once, none of them negative any more."""
    if not all(-rank <= axis < rank for axis in axes):
        raise Unsupported(f"axes are {list(axes)} for {rank} dimensions", "axes of its input")
    positive = tuple(axis % rank for axis in axes)
    if len(set(positive)) != len(positive):
        raise Unsupported(f"axes are {list(axes)}", "each axis once")
    return positive


def constant_tensor(name: str, data: Array, origin: Origin) -> Tensor:
    """A float32 constant in flash."""
    with np.errstate(over="ignore"):
        value = np.ascontiguousarray(data, dtype=np.float32)
    return Tensor(name, value.shape, Storage.FLASH, data=value, origin=origin)


def unused(name: str, used: set[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is not in `used`; it is added there."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate
