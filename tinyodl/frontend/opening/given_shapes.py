"""--shape NAME=1,12,5: the size of each axis of an input, where the file leaves them open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from tinyodl.errors import UserError
from tinyodl.frontend.load import network_inputs

_LARGEST = 1 << 26


def shapes_of(given: str | Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shape for each input, from NAME=1,12,5. Raises UserError for another form."""
    shapes = {}
    for text in [given] if isinstance(given, str) else given:
        name, found, sizes = text.rpartition("=")
        axes = [size.strip() for size in sizes.split(",")]
        if not found or not name or not all(axis.isdecimal() for axis in axes):
            raise UserError(
                f"--shape {text}: give the input's name and the size of each axis, such as "
                "--shape x=1,12,5"
            )
        shape = tuple(map(int, axes))
        if not all(0 < size <= _LARGEST for size in shape):
            raise UserError(f"--shape {text}: give sizes from 1 to {_LARGEST}")
        shapes[name] = shape
    return shapes


def with_given_shapes(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], source: str
) -> onnx.ModelProto:
    """A copy whose inputs have these shapes. Raises UserError where one contradicts the file."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inputs = {value.name: value for value in network_inputs(made.graph)}
    for name, shape in shapes.items():
        if name not in inputs:
            listed = ", ".join(f"'{each}'" for each in inputs)
            raise UserError(f"{source}: --shape is for '{name}', and its inputs are {listed}")
        dimensions = inputs[name].type.tensor_type.shape.dim
        sizes = [each.dim_value for each in dimensions]
        fits = not sizes or len(sizes) == len(shape)
        if not fits or any(
            own > 0 and own != size for own, size in zip(sizes[1:], shape[1:], strict=False)
        ):
            held = ",".join(
                str(each.dim_value) if each.dim_value > 0 else each.dim_param or "?"
                for each in dimensions
            )
            raise UserError(
                f"{source}: --shape {name}={','.join(map(str, shape))}, and the file says {held}"
            )
        del dimensions[:]
        for size in shape:
            dimensions.add(dim_value=size)
    if shapes:
        forget_shapes(made.graph)
    return made


def forget_shapes(graph: onnx.GraphProto, batch: int = 0) -> None:
    """Drop what follows from the inputs' shapes: it is inferred again.

    `batch` is the size that the first axis of outputs had.
    """
    del graph.value_info[:]
    for value in graph.output:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.HasField("dim_param") or (axis == 0 and dimension.dim_value == batch):
                dimension.Clear()
