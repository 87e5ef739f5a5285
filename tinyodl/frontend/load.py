"""Reads an ONNX file and checks everything the rest of the frontend relies on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx.checker
import onnx.external_data_helper
import onnx.inliner
import onnx.shape_inference

from tinyodl.errors import ModelError

OLDEST_OPSET = 7
NEWEST_OPSET = 28
INITIALIZERS_BY_THEMSELVES = 4  # from this IR version on, initializers need not be inputs
MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators
# What onnxruntime's optimiser writes into ONNX's domain, and the opset in which ONNX has it.
_AHEAD_OF_ONNX = {"LayerNormalization": 17}
_DEFAULT_DOMAINS = ("", "ai.onnx")
_INPUTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def load_model(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The checked model with batch 1, its local functions inlined and the shapes inferred.

    A symbolic batch dimension is bound to 1. `data` is the file's content, where it was changed
    after it was read. Raises ModelError, which names the file and the
    remedy, when the file is missing, not ONNX, truncated, refused by the ONNX checker or by strict
    shape inference, of an opset outside 7..28, or when an input is neither float32 nor 8-bit
    integers, or not of static shape.
    """
    return loaded(read_model(path, data), str(path))


def loaded(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """`load_model` for a model from `read_model`."""
    try:
        return inferred(bound(model, source))
    except ModelError:
        raise
    except Exception as error:  # onnx raises whatever its C++ half threw
        raise ModelError(
            f"{source}: the shapes in the network do not fit together: {one_line(error)}; "
            "export the model again"
        ) from error


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the shapes of all values that ONNX's strict inference knows.

    Raises whatever onnx raises for shapes that do not fit together.
    """
    known = onnx.shape_inference.infer_shapes(
        _onnx_alone(model), check_type=True, strict_mode=True, data_prop=True
    )
    for node, original in zip(known.graph.node, model.graph.node, strict=True):
        node.domain = original.domain
    return known


def _onnx_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for ONNX's checker, without what onnxruntime takes and the checker does not.

    An operator that this opset does not have yet is a foreign one, and foreign domains need no
    import: the import names what it does not know. Values may lack types and shapes, and in old
    files initializers need not be inputs.
    """
    opset = opset_of(model)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = max(made.ir_version, INITIALIZERS_BY_THEMSELVES)
    domains = {entry.domain for entry in made.opset_import}
    for node in made.graph.node:
        if node.domain in _DEFAULT_DOMAINS and opset < _AHEAD_OF_ONNX.get(node.op_type, 0):
            node.domain = MICROSOFT
        if node.domain not in domains and node.domain not in _DEFAULT_DOMAINS:
            made.opset_import.add(domain=node.domain, version=1)
            domains.add(node.domain)
    return made


def check_onnx(model: onnx.ModelProto) -> None:
    """Raises what ONNX's checker does; types of values and shapes of outputs may be missing."""
    made = _onnx_alone(model)
    del made.graph.value_info[:]
    for value in made.graph.output:
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or _INPUTS[0]
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(made)


def bound(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """A copy whose inputs have static shapes with batch 1, without the shapes inferred before."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _bind_batch(made, source)
    return made


def read_model(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The checked model as it is in the file, external data read in, local functions inlined."""
    return checked(read_file(path, data), path)


def read_file(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The model in a file, external data read in; nothing more is known of it than its names."""
    model = _parse(path, _read(path) if data is None else data)
    _read_external_data(model, path)
    _check_names(model.graph, path)
    return model


def checked(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """A model that ONNX's checker takes, with its local functions inlined. Raises ModelError."""
    _check_opset(model, path)
    try:
        check_onnx(model)
    except Exception as error:
        raise ModelError(
            f"{path}: the ONNX checker refuses it: {one_line(error)}; export the model again"
        ) from error
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise ModelError(f"{path}: initializer '{name}' is sparse; export it as a dense tensor")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise ModelError(
                f"{path}: its local functions cannot be inlined: {one_line(error)}; "
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
            f"{one_line(error)}; put that file beside the model, or export without external data"
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
            "with opset 17"
        )


def network_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have no value in the file."""
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def _bind_batch(model: onnx.ModelProto, source: str) -> None:
    """Give inputs their static shapes with batch 1, and forget shapes that were inferred before."""
    inputs = network_inputs(model.graph)
    if not inputs or not model.graph.output:
        raise ModelError(
            f"{source}: has {len(inputs)} inputs and {len(model.graph.output)} outputs; "
            "export a network with at least one of each"
        )
    bind_batch_symbols(model.graph)
    found = [fault for value in inputs for fault in input_faults(value)]
    if found:
        raise several_causes(source, found)
    for value in inputs:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions[0].dim_value <= 0:
            dimensions[0].dim_value = 1
    del model.graph.value_info[:]  # may hold the symbolic batch; inferred again
    for value in model.graph.output:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param") or dimension.dim_value < 0:
                dimension.Clear()


def bind_batch_symbols(graph: onnx.GraphProto) -> None:
    """Give all axes of inputs that are named as the batch of one of them the size 1.

    A recurrent state may be (layers, batch, hidden).
    """
    shapes = [value.type.tensor_type.shape.dim for value in network_inputs(graph)]
    firsts = [shape[0] for shape in shapes if len(shape) > 1]
    batch = {each.dim_param for each in firsts if each.dim_value <= 0 and each.dim_param}
    for shape in shapes:
        for dimension in shape[1:]:
            if dimension.dim_value <= 0 and dimension.dim_param in batch:
                dimension.dim_value = 1


def input_faults(value: onnx.ValueInfoProto) -> list[str]:
    """What keeps an input from being a sample: its type, and axes of unknown size but the first."""
    kind = value.type.tensor_type
    found = []
    if kind.elem_type not in _INPUTS:
        held = onnx.TensorProto.DataType.keys()
        named = held[kind.elem_type].lower() if 0 <= kind.elem_type < len(held) else "unknown"
        found.append(
            f"input '{value.name}' is {named}; supported are float32, and int8 and uint8 "
            "of quantised models; export the model with such an input"
        )
    dimensions = kind.shape.dim
    if not dimensions:
        found.append(
            f"input '{value.name}' has no shape; export with a sample of the right shape, or give "
            f"it: --shape {value.name}=1,... with the size of each axis"
        )
    unknown = [axis for axis, each in enumerate(dimensions) if axis and each.dim_value <= 0]
    if unknown:
        found.append(unknown_axes(value, unknown))
    return found


def unknown_axes(value: onnx.ValueInfoProto, axes: Sequence[int]) -> str:
    """What to do about axes of an input that have no size in the file."""
    dimensions = value.type.tensor_type.shape.dim
    names = [
        str(each.dim_value) if each.dim_value > 0 else each.dim_param or f"N{axis}"
        for axis, each in enumerate(dimensions)
    ]
    given = [name if axis in axes or name.isdecimal() else "1" for axis, name in enumerate(names)]
    listed = " and ".join(f"{axis} ('{names[axis]}')" for axis in axes)
    of_them = " and ".join(names[axis] for axis in axes)
    plural = "s" if len(axes) > 1 else ""
    return (
        f"input '{value.name}' has the dynamic dimension{plural} {listed}, and only the batch may "
        f"be dynamic; give --shape {value.name}={','.join(given)} with a number for {of_them}"
    )


def several_causes(source: str, causes: Sequence[str]) -> ModelError:
    """One error with all causes, each with what to do about it."""
    if len(causes) == 1:
        return ModelError(f"{source}: {causes[0]}")
    lines = "".join(f"\n  {cause}" for cause in causes)
    return ModelError(f"{source}: {len(causes)} things are in the way{lines}")


def one_line(error: Exception) -> str:
    """The message of an error of onnx as one line of limited length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
