"""--simplify, and the check that a changed ONNX file still has the original's results.

onnxruntime, which tinyodl needs anyway, does the simplification: its basic optimisations keep to
standard ONNX operators, fold constants (also the condition of an If), and remove dead nodes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.shape_inference

from tinyodl.errors import ModelError
from tinyodl.files.whole_files import temporary_folder
from tinyodl.frontend.edit import drop_unused
from tinyodl.frontend.load import bound
from tinyodl.frontend.names import node_names
from tinyodl.frontend.runtime import one_line, session
from tinyodl.graph import Array

_RELATIVE = 1e-4  # of the largest magnitude in a value; sums in another order stay far below


def simplified(
    model: onnx.ModelProto, source: str, remedy: str = "compile without --simplify"
) -> onnx.ModelProto:
    """The model as onnxruntime's basic optimisations leave it, for batch 1. Raises ModelError."""
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        path = folder / "simplified.onnx"
        try:
            session(bound(model, source), simplified=path)
            made = onnx.load(path)
        except Exception as error:  # onnxruntime raises its own types, onnx whatever it likes
            raise ModelError(
                f"{source}: onnxruntime cannot simplify it: {one_line(error)}; {remedy}"
            ) from error
    known = {"", "ai.onnx", *(node.domain for node in model.graph.node)}
    foreign = sorted({node.domain for node in made.graph.node} - known)
    if foreign:
        raise ModelError(
            f"{source}: simplifying brought in operators of {', '.join(foreign)}; {remedy}"
        )
    return made


def check_same(
    original: onnx.ModelProto,
    changed: onnx.ModelProto,
    source: str,
    remedy: str = "compile without --simplify, or with --no-check if you know why",
    row: int | None = None,
) -> None:
    """Raise ModelError naming the first node at which two models differ, on one random input.

    Every float32 value that both models name is compared, as onnxruntime computes it without
    optimisations, in the order of the changed model. Where the original has a batch and the changed
    model has one sample, this is `row` of the batch.
    """
    first, second = bound(original, source), bound(changed, source)
    made = {name for node in first.graph.node for name in node.output}
    shared = _float_values(second) & made  # nodes cut away may even be invalid
    inputs = _random_inputs(first if row is not None else second)
    expected = _run(first, shared, inputs, source, remedy)
    if row is not None:
        expected = {n: _row(value, row, _batch(inputs)) for n, value in expected.items()}
        inputs = {name: value[row : row + 1] for name, value in inputs.items()}
    found = _run(second, shared, inputs, source, remedy)
    for name, node in zip(node_names(second.graph), second.graph.node, strict=True):
        for value in node.output:
            if value in shared and not _close(found[value], expected[value]):
                raise ModelError(
                    f"{source}: after the changes, node '{name}' ({node.op_type}) computes another "
                    f"'{value}' than the original: {_difference(found[value], expected[value])}; "
                    f"{remedy}"
                )


def _batch(inputs: dict[str, Array]) -> int:
    return len(next(iter(inputs.values())))


def _row(value: Array, row: int, batch: int) -> Array:
    """A row of a value that has one for each sample; another value as it is."""
    return value[row : row + 1] if value.shape[:1] == (batch,) else value


def _float_values(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return known & {name for node in model.graph.node for name in node.output}


def _random_inputs(model: onnx.ModelProto) -> dict[str, Array]:
    random = np.random.default_rng(0)
    constant = {tensor.name for tensor in model.graph.initializer}
    drawn = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        size = [dimension.dim_value for dimension in kind.shape.dim]
        if value.name in constant:
            continue
        if kind.elem_type == onnx.TensorProto.FLOAT:
            drawn[value.name] = random.normal(size=size).astype(np.float32)
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            limits = np.iinfo(dtype)
            drawn[value.name] = random.integers(limits.min, limits.max, size, dtype, endpoint=True)
    return drawn


def _run(
    model: onnx.ModelProto,
    values: set[str],
    inputs: dict[str, Array],
    source: str,
    remedy: str,
) -> dict[str, Array]:
    """These values as onnxruntime computes them."""
    wanted = onnx.ModelProto()
    wanted.CopyFrom(model)
    del wanted.graph.output[:]
    wanted.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in sorted(values)
    )
    drop_unused(wanted.graph)  # nodes after a cut may be unknown to onnxruntime
    if not values:
        return {}
    try:
        running = session(wanted)
        read = {entry.name for entry in running.get_inputs()}
        given = {name: value for name, value in inputs.items() if name in read}
        made = running.run(sorted(values), given)
    except Exception as error:
        raise ModelError(
            f"{source}: onnxruntime cannot run it to check the changes: {one_line(error)}; {remedy}"
        ) from error
    return dict(zip(sorted(values), made, strict=True))


def _close(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    with np.errstate(all="ignore"):
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        return np.allclose(found, expected, rtol=0.0, atol=_RELATIVE * scale, equal_nan=True)


def _difference(found: Array, expected: Array) -> str:
    if found.shape != expected.shape:
        return f"its shape is {found.shape}, not {expected.shape}"
    with np.errstate(all="ignore"):
        at = np.unravel_index(int(np.nanargmax(np.abs(found - expected))), found.shape)
    index = ", ".join(str(int(i)) for i in at)
    return f"{found[at]:.7g} instead of {expected[at]:.7g} at [{index}]"
