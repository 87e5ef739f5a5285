"""Learned weights back into the ONNX file that a project was compiled from.

What did not learn stays byte for byte as it was: nodes, initializers, metadata. A layer that
learned after a BatchNormalization was folded into it is written in its folded form, all its
constants at once, and the BatchNormalization is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.checker

from tinyodl.errors import ModelError, UserError
from tinyodl.files.whole_files import write_whole
from tinyodl.frontend import edit
from tinyodl.frontend.build import Imported, import_checked
from tinyodl.frontend.dequantized import with_real_weights
from tinyodl.frontend.integers import write_integers
from tinyodl.frontend.labels import keep_outputs
from tinyodl.frontend.load import (
    INITIALIZERS_BY_THEMSELVES,
    check_onnx,
    load_model,
    read_model,
)
from tinyodl.frontend.names import node_names
from tinyodl.graph import Array, Graph, Origin, Tensor
from tinyodl.ops.quantized_import import FORMS
from tinyodl.ops.shared.candidate import PLAN, POOL
from tinyodl.ops.standardize import standardized
from tinyodl.project.manifest import MODEL_NAME, Manifest, OriginRecord
from tinyodl.select.choice import decoded, weights_of_choice

READ = (PLAN, POOL)  # parameters that say what learned where the run chose it
DELTA_STEPS = 256  # of a learned change of a bias, in one step of the layer's output


def export_model(
    project: Path,
    manifest: Manifest,
    parameters: Mapping[str, Array],
    out: Path,
    labels: Sequence[int] | None = None,
) -> None:
    """Write the project's model with learned values to `out`, all of it or nothing.

    `parameters` maps names of `manifest.parameters` to values as the board has them, in the IR's
    layout: float32, int8 weights, or the int16 change of a bias. A missing value, or one equal to
    the original, leaves its initializer untouched. If nothing has learned, the file is a copy.
    If outputs take labels as they come, `labels` are the labels of the taken outputs: the others
    are left out, and the metadata "tinyodl.labels" has the labels of the outputs in the file.
    Raises ModelError when the project's model.onnx is not the one that was compiled, or a value
    does not fit or is not finite, UserError when `out` cannot be written.
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
    imported = replace(imported, graph=_with_statistics(imported.graph, manifest))
    changed = _changed(imported.graph, manifest, parameters)
    if changed:
        model = read_model(path)
        write_back(model.graph, imported, changed)
        model.ir_version = max(model.ir_version, INITIALIZERS_BY_THEMSELVES)
        if labels:
            keep_outputs(model, labels)
        check_onnx(model)
        data = model.SerializeToString()
    _write_file(out, data)


def _with_statistics(graph: Graph, manifest: Manifest) -> Graph:
    """The graph with the device's means and variances as constants with an origin in the file."""
    for name, update in manifest.plan.layers.items():
        if update == "statistics":
            [node] = [node for node in graph.nodes if node.name == name]
            made, tensors = standardized(node, graph)
            nodes = [made if each is node else each for each in graph.nodes]
            graph = graph.with_tensors(tensors).with_nodes(nodes)
    return graph


def _changed(
    graph: Graph, manifest: Manifest, parameters: Mapping[str, Array]
) -> dict[str, tuple[Tensor, Array]]:
    """The constants to write: the learned ones, and those folded together with them."""
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
        if (
            tensor is None
            or tensor.origin is None
            or OriginRecord(**vars(tensor.origin)) != record.origin
        ):
            raise ModelError(
                f"parameter '{name}' of the project is not in its model.onnx as this tinyodl "
                "reads it; compile the project again with this version"
            )
        value = np.ascontiguousarray(value, record.dtype)
        if value.shape != record.shape:
            raise ModelError(
                f"parameter '{name}' has the shape {value.shape}, the model's is {record.shape}; "
                "read it from the board that runs this project"
            )
        if not np.isfinite(value).all():
            raise ModelError(
                f"parameter '{name}' holds values that are not finite: the training diverged; "
                "reset the board and train with a smaller learning rate"
            )
        learned[tensor.name] = (tensor, _whole(tensor, value, graph, manifest))
    learned |= _chosen(graph, manifest, parameters)
    changed = {
        name: (tensor, value)
        for name, (tensor, value) in learned.items()
        if value.tobytes() != _unlearned(tensor).tobytes()
    }
    removed = _folded(changed)
    for tensor in graph.tensors.values():
        if tensor.name in changed or tensor.origin is None or tensor.data is None:
            continue
        if removed.intersection(tensor.origin.folded):
            changed[tensor.name] = learned.get(tensor.name, (tensor, _unlearned(tensor)))
    return changed


def _chosen(
    graph: Graph, manifest: Manifest, parameters: Mapping[str, Array]
) -> dict[str, tuple[Tensor, Array]]:
    """The weights of candidates that learned: all of a layer, with the channels that were chosen.

    Empty where `parameters` has no choice.
    """
    if not all(name in parameters for name in READ):
        return {}
    plan, pool = (np.asarray(parameters[name]) for name in READ)
    places = {(t.origin.node, t.origin.slot): t for t in graph.tensors.values() if t.origin}
    found = {}
    for each, channels, value in weights_of_choice(decoded(plan, manifest), manifest, pool):
        tensor = places[each.origin.node, each.origin.slot]
        assert tensor.data is not None
        whole = tensor.data.copy()
        whole[list(channels)] = value.reshape(len(channels), *tensor.shape[1:])
        if not np.isfinite(whole).all():
            raise ModelError(
                f"layer '{each.name}' holds values that are not finite: the training diverged; "
                "reset the board and train with a smaller learning rate"
            )
        found[tensor.name] = (tensor, whole)
    return found


def _whole(tensor: Tensor, value: Array, graph: Graph, manifest: Manifest) -> Array:
    """The whole value of a constant from the part that the board holds; see `write_back`."""
    if tensor.dtype == "int32":
        (layer,) = graph.consumers[tensor.name]
        y = graph.tensor(layer.outputs[0]).quantization
        assert y is not None
        return value.astype(np.float64) * (y.scales(value.size).astype(np.float64) / DELTA_STEPS)
    if value.shape == tensor.shape:
        return value
    (layer,) = graph.consumers[tensor.name]
    channels = next(each.channels for each in manifest.layers if each.name == layer.name)
    assert channels is not None and tensor.data is not None
    whole = tensor.data.copy()
    depthwise = tensor.shape[1] == 1
    if channels.side == "outputs" or depthwise:
        whole[list(channels.chosen)] = value
    else:
        whole[:, list(channels.chosen)] = value
    return whole


def _unlearned(tensor: Tensor) -> Array:
    """The value of a constant that has learned nothing."""
    assert tensor.data is not None
    return np.zeros(tensor.shape) if tensor.dtype == "int32" else tensor.data


def _folded(changed: Mapping[str, tuple[Tensor, Array]]) -> set[str]:
    return {
        name for tensor, _ in changed.values() if tensor.origin for name in tensor.origin.folded
    }


def write_back(
    graph: onnx.GraphProto, imported: Imported, changed: Mapping[str, tuple[Tensor, Array]]
) -> None:
    """Put these values of imported constants into the file, without the nodes folded into them.

    Of an int32 bias the value is how much the real bias changed, float64.
    """
    before = onnx.GraphProto()
    before.CopyFrom(graph)
    nodes = dict(zip(node_names(graph), graph.node, strict=True))
    for name in sorted(_folded(changed)):
        node = nodes[name]
        source = next(value for value in node.input if value not in imported.constants)
        edit.remove_node(graph, node, source)
    places = _Places(graph, nodes)
    values = list(changed.values())
    for name in sorted({use for tensor, _ in values for use in _real_uses(tensor)}):
        if places.make_real(name):
            rest = [
                t for t in imported.graph.tensors.values() if t.origin and t.name not in changed
            ]
            values += [(t, _unlearned(t)) for t in rest if t.origin and t.origin.node == name]
    for tensor, value in values:
        if tensor.origin is not None:
            _write_value(places, tensor, value, imported)
    edit.drop_newly_unused(graph, before)


def _real_uses(tensor: Tensor) -> list[str]:
    """The nodes that read this constant, if it is float32 here and integers in the file."""
    if tensor.dtype != "float32" or tensor.origin is None or tensor.origin.quantized is None:
        return []
    return [tensor.origin.node, *(node for node, _ in tensor.origin.tied)]


class _Places:
    """The input slots of the file's nodes, by the names and numbers that origins have for them."""

    def __init__(self, graph: onnx.GraphProto, nodes: dict[str, onnx.NodeProto]) -> None:
        self.graph = graph
        self.nodes = nodes
        self.slots: dict[str, list[int | None]] = {}  # of operators that are float ones now

    def make_real(self, name: str) -> bool:
        """Let a node work with float32 constants; False for one that does already."""
        node = self.nodes[name]
        if node.op_type not in FORMS:
            return False
        form = FORMS[node.op_type]
        self.slots[name] = [*form.operands, form.bias]
        self.nodes[name] = with_real_weights(self.graph, node)
        return True

    def at(self, name: str, slot: int) -> tuple[onnx.NodeProto, int]:
        """A node and its input slot."""
        return self.nodes[name], self.slots[name].index(slot) if name in self.slots else slot


def _write_value(places: _Places, tensor: Tensor, value: Array, imported: Imported) -> None:
    """Write a constant as integers where the file has them, else as float32."""
    origin = tensor.origin
    assert origin is not None and tensor.data is not None
    if tensor.quantization is not None and tensor.dtype != "float32":
        use = places.at(origin.node, origin.slot)
        graph, constants = places.graph, imported.constants
        if write_integers(graph, use, tensor, value, constants):
            return
        if use[0].op_type in FORMS:
            raise ModelError(
                f"what node '{origin.node}' has learned is beyond the integers of the file; "
                "reset the board and train with a smaller learning rate"
            )
        steps = tensor.quantization.scales(tensor.shape[0]).astype(np.float64)
        each = steps.reshape(-1, *(1,) * (len(tensor.shape) - 1))
        real = tensor.data * each + value if tensor.dtype == "int32" else value * each
        value = real.astype(np.float32)
    _write(places, origin, value, imported)


def _write(places: _Places, origin: Origin, value: Array, imported: Imported) -> None:
    """Undo what the import did to a constant, and put it where its nodes read it."""
    node, slot = places.at(origin.node, origin.slot)
    if node.op_type == "MatMul" and slot == edit.BIAS_SLOT:
        edit.add_bias(places.graph, node, value)
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
    if node.op_type == "Gemm" and slot == edit.BIAS_SLOT:
        _match_beta(node, origin.scale)
    name = node.input[slot] if slot < len(node.input) else ""
    original = imported.constants.get(name)
    if original is not None and original.size == value.size:
        value = value.reshape(original.shape)
    uses = ((origin.node, origin.slot), *origin.tied)
    edit.write_constant(places.graph, [places.at(*use) for use in uses], value)


def _match_beta(node: onnx.NodeProto, scale: float) -> None:
    """A Gemm without bias may have any beta; the bias that it gets now has to count once."""
    beta = next((float(a.f) for a in node.attribute if a.name == "beta"), 1.0)
    if beta != scale:
        edit.set_float(node, "beta", scale)


def _write_file(out: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    try:
        write_whole(out, data)
    except OSError as error:
        raise UserError(
            f"{out}: {error.strerror}; nothing was written, give a path with enough space"
        ) from error
