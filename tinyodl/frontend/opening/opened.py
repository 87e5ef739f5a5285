"""Opens a file as users have it: what has to be changed before it can be imported, is changed here.

Every change is a line for the user, and the changed file is compared with the original one in
onnxruntime, value by value. The changed file is the project's `model.onnx`; a file without changes
stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx

from tinyodl.errors import ModelError
from tinyodl.frontend.load import checked, model_bytes, network_inputs, read_file
from tinyodl.frontend.opening.batch import of_one_row, static_batch
from tinyodl.frontend.opening.causes import check_causes
from tinyodl.frontend.opening.classical import as_standard
from tinyodl.frontend.opening.given_shapes import with_given_shapes
from tinyodl.frontend.opening.node_order import sorted_nodes
from tinyodl.frontend.opening.old_opset import newer, with_opset

_REMEDY = "export the model again"
_MOST_COMPARED = 1 << 22  # elements of an input, so that its maps fit into memory


@dataclass(frozen=True)
class Opened:
    """A model that is ready for the import, except for what `load.loaded` does.

    model  checked, without local functions, with one sample in its inputs.
    data   its bytes, as a project keeps them; the file's own where nothing was changed.
    notes  the changes, a clause each.
    """

    model: onnx.ModelProto
    data: bytes
    notes: tuple[str, ...] = ()


def opened(
    path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, output: str | None = ""
) -> Opened:
    """The model in a file, and what had to be changed.

    `shapes` are those of inputs whose axes the file leaves open. `output` is the one to train; None
    if the user has chosen none, and "" if it is chosen later. Raises ModelError with all causes why
    the file cannot be used, UserError for shapes that contradict it.
    """
    source = str(path)
    original = model = read_file(path)
    changes: list[str] = []
    for change in (sorted_nodes, with_opset, lambda each: newer(each, source)):
        made = change(model)
        if made:
            model = made[0]
            changes.append(made[1])
    model = checked(model, path)
    made = as_standard(model)
    if made:
        model = made[0]
        changes.append(made[1])
    if shapes:
        model = with_given_shapes(model, shapes, source)
        original = with_given_shapes(original, shapes, source)
        changes.append("; ".join(f"'{name}' is {_text(shape)}" for name, shape in shapes.items()))
    check_causes(model, source, output)
    if changes:
        from tinyodl.frontend.simplify import check_same  # onnxruntime loads slowly

        check_same(original, model, source, _REMEDY)
    alone = _with_one_row(model, source)
    if alone:
        model = alone[0]
        changes.append(alone[1])
    notes = (*changes, *_whole_samples(model))
    if not changes:
        return Opened(model, model_bytes(path), notes)
    return Opened(model, model.SerializeToString(deterministic=True), notes)


def _with_one_row(model: onnx.ModelProto, source: str) -> tuple[onnx.ModelProto, str] | None:
    """The model with batch 1, where it has another one and computes its rows one by one."""
    batch = static_batch(model)
    if not batch:
        return None
    for value in network_inputs(model.graph):
        shape = tuple(each.dim_value for each in value.type.tensor_type.shape.dim)
        if prod(shape) > _MOST_COMPARED:
            raise ModelError(
                f"{source}: input '{value.name}' {_text(shape)} has a batch of {batch}, too large "
                "to run the file and see whether it computes row by row; export it with batch 1"
            )
    from tinyodl.frontend.simplify import check_same  # onnxruntime loads slowly

    for made in of_one_row(model, batch):
        try:
            for row in (0, batch - 1):
                check_same(model, made, source, _REMEDY, row)
        except ModelError:
            continue  # rows depend on each other, or on their place: all of them are one sample
        return made, f"the batch of {batch} in the file is 1 here: its rows are computed one by one"
    return None


def _whole_samples(model: onnx.ModelProto) -> list[str]:
    """Inputs whose first axis is no batch, in words."""
    found = []
    for value in network_inputs(model.graph):
        shape = tuple(each.dim_value for each in value.type.tensor_type.shape.dim)
        if shape[0] > 1:
            found.append(f"'{value.name}' {_text(shape)} has no batch: all of it is one sample")
    return found


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
