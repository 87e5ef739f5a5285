"""Learned weights back into the ONNX file that a project was compiled from.

What did not learn stays byte for byte as it was: nodes, initializers, metadata. A layer that
learned after a BatchNormalization was folded into it is written in its folded form, all its
constants at once, and the BatchNormalization is removed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.checker

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import edit
from tinyodl.frontend.build import Imported, import_checked
from tinyodl.frontend.load import load_model, read_model
from tinyodl.frontend.names import node_names
from tinyodl.graph import Array, Graph, Origin, Tensor
from tinyodl.manifest import MODEL_NAME, Manifest, OriginRecord

INITIALIZERS_BY_THEMSELVES = 4  # from this IR version on they need not be graph inputs too


def export_model(
    project: Path, manifest: Manifest, parameters: Mapping[str, Array], out: Path
) -> None:
    """Write the project's model with learned values to `out`, all of it or nothing.

    `parameters` maps names of `manifest.parameters` to float32 values in the IR's layout; those
    that are missing, or equal to the original, leave their initializers untouched. Where nothing
    learned, the file is a copy. Raises ModelError when the project's model.onnx is not the one that
    was compiled, or a value does not fit or is not finite, UserError when `out` cannot be written.
    """
    path = project / MODEL_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror}; compile the project again, or restore its model.onnx"
        ) from error
    if hashlib.sha256(data).hexdigest() != manifest.model.sha256:
        raise ModelError(
            f"{path} is not the model that the project was compiled from (its sha256 differs from "
            "the manifest's); restore it, or compile again"
        )
    model = load_model(path)
    several = len(model.graph.output) > 1
    output = manifest.model.output_name if several else None
    imported = import_checked(model, str(path), output, manifest.plan.learns)
    changed = _changed(imported.graph, manifest, parameters)
    if changed:
        model = read_model(path)
        write_back(model.graph, imported, changed)
        model.ir_version = max(model.ir_version, INITIALIZERS_BY_THEMSELVES)
        onnx.checker.check_model(model)
        data = model.SerializeToString()
    _write_file(out, data)


def _changed(
    graph: Graph, manifest: Manifest, parameters: Mapping[str, Array]
) -> dict[str, tuple[Tensor, Array]]:
    """The constants to write: what learned, and what was folded together with that."""
    records = {record.name: record for record in manifest.parameters}
    places = {(t.origin.node, t.origin.slot): t for t in graph.tensors.values() if t.origin}
    learned: dict[str, tuple[Tensor, Array]] = {}
    for name, value in parameters.items():
        record = records.get(name)
        if record is None:
            raise ModelError(
                f"'{name}' is not a parameter of the project; its parameters are "
                f"{', '.join(records) or 'none'}"
            )
        if record.origin is None:
            continue  # optimiser state
        tensor = places.get((record.origin.node, record.origin.slot))
        if tensor is None or tensor.origin is None or _record(tensor.origin) != record.origin:
            raise ModelError(
                f"parameter '{name}' of the project is not in its model.onnx as this tinyodl "
                "reads it; compile the project again with this version"
            )
        value = np.ascontiguousarray(value, np.float32)
        if value.shape != tensor.shape:
            raise ModelError(
                f"parameter '{name}' has the shape {value.shape}, the model's is {tensor.shape}; "
                "read it from the board that runs this project"
            )
        if not np.isfinite(value).all():
            raise ModelError(
                f"parameter '{name}' holds values that are not finite: the training diverged; "
                "reset the board and train with a smaller learning rate"
            )
        learned[tensor.name] = (tensor, value)
    changed = {
        name: (tensor, value)
        for name, (tensor, value) in learned.items()
        if tensor.data is None or value.tobytes() != tensor.data.tobytes()
    }
    removed = _folded(changed)
    for tensor in graph.tensors.values():
        if tensor.name in changed or tensor.origin is None or tensor.data is None:
            continue
        if removed.intersection(tensor.origin.folded):
            changed[tensor.name] = learned.get(tensor.name, (tensor, tensor.data))
    return changed


def _folded(changed: Mapping[str, tuple[Tensor, Array]]) -> set[str]:
    return {
        name for tensor, _ in changed.values() if tensor.origin for name in tensor.origin.folded
    }


def write_back(
    graph: onnx.GraphProto, imported: Imported, changed: Mapping[str, tuple[Tensor, Array]]
) -> None:
    """Put these values of imported constants into the file, without the nodes folded into them."""
    before = onnx.GraphProto()
    before.CopyFrom(graph)
    nodes = dict(zip(node_names(graph), graph.node, strict=True))
    for name in sorted(_folded(changed)):
        node = nodes[name]
        source = next(value for value in node.input if value not in imported.constants)
        edit.remove_node(graph, node, source)
    for tensor, value in changed.values():
        if tensor.origin is not None:
            _write(graph, nodes, tensor.origin, value, imported)
    edit.drop_newly_unused(graph, before)


def _write(
    graph: onnx.GraphProto,
    nodes: Mapping[str, onnx.NodeProto],
    origin: Origin,
    value: Array,
    imported: Imported,
) -> None:
    """Undo what the import did to a constant, and put it where its nodes read it."""
    node = nodes[origin.node]
    if node.op_type == "MatMul" and origin.slot == edit.BIAS_SLOT:
        edit.add_bias(graph, node, value)
        return
    if origin.transform == "transpose":
        value = value.T
    if origin.scale != 1.0:
        value = value / np.float32(origin.scale)
        if not np.isfinite(value).all():
            raise ModelError(
                f"the learned constant of node '{origin.node}' divided by its factor "
                f"{origin.scale} is not finite; reset the board and train again"
            )
    if node.op_type == "Gemm" and origin.slot == edit.BIAS_SLOT:
        _match_beta(node, origin.scale)
    name = node.input[origin.slot] if origin.slot < len(node.input) else ""
    original = imported.constants.get(name)
    if original is not None and original.size == value.size:
        value = value.reshape(original.shape)
    uses = ((origin.node, origin.slot), *origin.tied)
    edit.write_constant(graph, [(nodes[user], slot) for user, slot in uses], value)


def _match_beta(node: onnx.NodeProto, scale: float) -> None:
    """A Gemm without bias may have any beta; the bias that it gets now has to count once."""
    beta = next((float(a.f) for a in node.attribute if a.name == "beta"), 1.0)
    if beta != scale:
        edit.set_float(node, "beta", scale)


def _record(origin: Origin) -> OriginRecord:
    return OriginRecord(
        node=origin.node,
        slot=origin.slot,
        initializer=origin.initializer,
        transform=origin.transform,
        scale=origin.scale,
        folded=origin.folded,
        tied=origin.tied,
    )


def _write_file(out: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{out}: {error.strerror}; nothing was written, give a path with enough space"
        ) from error
