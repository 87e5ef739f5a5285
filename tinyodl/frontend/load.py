"""Reads an ONNX file and checks everything the rest of the frontend relies on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.checker
import onnx.external_data_helper
import onnx.inliner
import onnx.shape_inference

from tinyodl.errors import ModelError

OLDEST_OPSET = 11
NEWEST_OPSET = 25
_DEFAULT_DOMAINS = ("", "ai.onnx")
_INPUTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def load_model(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The checked model with batch 1, its local functions inlined and the shapes inferred.

    A symbolic batch dimension is bound to 1. `data` is the file's content, where it was changed
    after it was read. Raises ModelError, which names the file and the
    remedy, when the file is missing, not ONNX, truncated, refused by the ONNX checker or by strict
    shape inference, of an opset outside 11..25, or when an input is neither float32 nor 8-bit
    integers, or not of static shape.
    """
    model = bound(read_model(path, data), str(path))
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:  # onnx raises whatever its C++ half threw
        raise ModelError(
            f"{path}: the shapes in the network do not fit together: {_one_line(error)}; "
            "export the model again"
        ) from error


def bound(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """A copy whose inputs have static shapes with batch 1, without the shapes inferred before."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _bind_batch(made, source)
    return made


def read_model(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The checked model as it is in the file, external data read in, local functions inlined."""
    model = _parse(path, _read(path) if data is None else data)
    _read_external_data(model, path)
    _check_names(model.graph, path)
    _check_opset(model, path)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(
            f"{path}: the ONNX checker refuses it: {_one_line(error)}; export the model again"
        ) from error
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise ModelError(f"{path}: initializer '{name}' is sparse; export it as a dense tensor")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise ModelError(
                f"{path}: its local functions cannot be inlined: {_one_line(error)}; "
                "export the model without them"
            ) from error
    return model


def model_bytes(path: Path) -> bytes:
    """The bytes of a project's copy of the model: the file's own bytes.

    A model with external data becomes one self-contained file. Raises ModelError.
    """
    data = _read(path)
    model = _parse(path, data)
    if _read_external_data(model, path):
        return bytes(model.SerializeToString(deterministic=True))
    return data


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operator set; 0 when the model imports none."""
    versions = [entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS]
    return max(versions, default=0)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror or error}; give the path of an ONNX file"
        ) from error


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelError(
            f"{path}: not an ONNX file, or a truncated one; export or copy it again"
        ) from error
    if not model.HasField("graph"):
        raise ModelError(f"{path}: not an ONNX model: it holds no graph; export the model again")
    return model


def _read_external_data(model: onnx.ModelProto, path: Path) -> bool:
    """Read weights kept in files beside the model; False when there are none."""
    kept = list(filter(onnx.external_data_helper.uses_external_data, _tensors(model.graph)))
    if not kept:
        return False
    for tensor in kept:
        _check_location(tensor, path)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ModelError(
            f"{path}: its weights are kept in another file, which cannot be read: "
            f"{_one_line(error)}; put that file beside the model, or export without external data"
        ) from error
    return True


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constants of a graph: initializers, and attributes of nodes, of inner graphs too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _check_location(tensor: onnx.TensorProto, path: Path) -> None:
    """Raises ModelError where a constant would be read from outside of the model's folder."""
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    folder = path.parent.resolve()
    if "\0" in location or not (folder / location).resolve().is_relative_to(folder):
        raise ModelError(
            f"{path}: its weights are kept in another file, which is not in the model's folder: "
            f"{location!r}; put that file beside the model, or export without external data"
        )


def _check_names(graph: onnx.GraphProto, path: Path) -> None:
    """Protobuf gives non-UTF-8 text as bytes; the later code expects only text."""
    for node in graph.node:
        attributes = (attribute.name for attribute in node.attribute)
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output, *attributes)
        if not all(isinstance(text, str) for text in texts):
            raise ModelError(
                f"{path}: node {node.name!r} has a name in it that is not UTF-8 text; "
                "the file is damaged, export or copy it again"
            )
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        if not isinstance(value.name, str):
            raise ModelError(
                f"{path}: value {value.name!r} has a name that is not UTF-8 text; "
                "the file is damaged, export or copy it again"
            )


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    opset = opset_of(model)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        found = f"uses ONNX opset {opset}" if opset else "does not say which ONNX opset it uses"
        raise ModelError(
            f"{path}: {found}, supported are {OLDEST_OPSET} to {NEWEST_OPSET}; export it "
            "with opset 17, or convert it with onnx.version_converter"
        )


def _bind_batch(model: onnx.ModelProto, source: str) -> None:
    """Give inputs their static shapes with batch 1, and forget shapes that were inferred before."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if not inputs or not model.graph.output:
        raise ModelError(
            f"{source}: has {len(inputs)} inputs and {len(model.graph.output)} outputs; "
            "export a network with at least one of each"
        )
    for value in inputs:
        _bind_input(value, source)
    del model.graph.value_info[:]  # may hold the symbolic batch; inferred again
    for value in model.graph.output:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.Clear()


def _bind_input(value: onnx.ValueInfoProto, source: str) -> None:
    kind = value.type.tensor_type
    if kind.elem_type not in _INPUTS:
        held = onnx.TensorProto.DataType.keys()
        found = held[kind.elem_type].lower() if 0 <= kind.elem_type < len(held) else "unknown"
        raise ModelError(
            f"{source}: input '{value.name}' is {found}; supported are float32, and int8 and uint8 "
            "of quantised models; export the model with such an input"
        )
    dimensions = kind.shape.dim
    if not dimensions:
        raise ModelError(
            f"{source}: input '{value.name}' has no shape; export with a sample of the right shape"
        )
    batch = dimensions[0].dim_value
    if batch > 1:
        raise ModelError(
            f"{source}: input '{value.name}' has a batch of {batch}; export with batch 1 "
            "or a symbolic batch dimension"
        )
    dimensions[0].dim_value = 1
    for index, dimension in enumerate(dimensions):
        if dimension.dim_value <= 0:
            named = f" ('{dimension.dim_param}')" if dimension.dim_param else ""
            raise ModelError(
                f"{source}: input '{value.name}' has the dynamic dimension {index}{named}; only "
                "the batch may be dynamic, export with a fixed size"
            )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
