"""ONNX -> Graph: imports the nodes in the order of the file, then runs the passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.shape_inference

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import constants
from tinyodl.frontend.batch_axes import with_batch_axes
from tinyodl.frontend.integer_inputs import know_scales
from tinyodl.frontend.load import bound, loaded, opset_of
from tinyodl.frontend.names import live_nodes, node_names
from tinyodl.frontend.opening.causes import domain_fault, several_outputs
from tinyodl.frontend.opening.opened import opened
from tinyodl.frontend.opening.outputs import only_real_output
from tinyodl.frontend.passes import Learns, drop_unused, simplify
from tinyodl.frontend.problems import Problem, model_error
from tinyodl.frontend.quantized import fuse_quantized
from tinyodl.graph import Array, Graph, Node, Tensor
from tinyodl.ops import IMPORTERS, OPERATORS, output_shapes
from tinyodl.ops.quantized_import import MOVING, as_real_numbers, through_real_numbers
from tinyodl.ops.shared import OnnxNode, Scope, UnknownInput, Unsupported

OPAQUE = "Unsupported"  # stands for a node that could not be imported


@dataclass(frozen=True)
class Imported:
    """A graph, and the ONNX values behind it that are constant."""

    graph: Graph
    constants: Mapping[str, Array]


def never(layer: str) -> bool:
    """No layer learns that one before it could absorb."""
    return False


def import_model(path: Path, output: str | None = None, learns: Learns = never) -> Graph:
    """The network in an ONNX file as a Graph, ready for training and code generation.

    `output` names the output to compute where the file has several; the others, and the nodes and
    inputs that only they need, are left out.

    Constants are float32 in flash and know their origin; inputs and outputs keep their names, nodes
    theirs (`<op>_<index>` where they have none), in the order of the file. Added constants are
    folded into the layer before them, and so is BatchNormalization unless it `learns`. Raises
    ModelError (for unsupported operators it lists every node at fault), and UserError when `output`
    is no output.
    """
    model = loaded(opened(path, output=output).model, str(path))
    return import_checked(model, str(path), output, learns).graph


def import_checked(
    model: onnx.ModelProto, source: str, output: str | None = None, learns: Learns = never
) -> Imported:
    """`import_model` for a model from `load_model`; `source` names it in errors."""
    opset = opset_of(model)
    names = node_names(model.graph)
    output = chosen_output(model, source, output)
    live = live_nodes(model.graph, (output,))
    scope, problems = _import_nodes(model, names, live, output, opset, source)
    with_batch_axes(scope, output)
    graph = Graph(
        tuple(scope.nodes),
        scope.tensors,
        tuple(v.name for v in model.graph.input if v.name not in scope.initializers),
        (output, *_read_elsewhere(model.graph, live, output, scope)),
    )
    graph = drop_unused(replace(simplify(graph, learns), outputs=(output,)))
    graph = fuse_quantized(graph)
    used = tuple(name for name in graph.inputs if graph.consumers.get(name))
    graph = replace(graph, inputs=used).with_nodes(graph.nodes)
    problems += _leftovers(graph)
    if problems:
        order = {name: index for index, name in enumerate(names)}
        problems.sort(key=lambda problem: order.get(problem.node, -1))
        cut_after = _last_before(problems[0].node, scope, names)
        raise model_error(source, opset, problems, sorted(IMPORTERS), cut_after)
    _check(graph, model, source)
    return Imported(graph, scope.constants)


def _last_before(problem: str, scope: Scope, names: Sequence[str]) -> str | None:
    """The last node of the file that computes something before the first one at fault."""
    before = set(names[: names.index(problem)]) if problem in names else set()
    computing = [node.name for node in scope.nodes if node.op != OPAQUE and node.name in before]
    return computing[-1] if computing else None


def value_shapes(model: onnx.ModelProto, source: str) -> dict[str, tuple[int, ...]]:
    """The shapes of values with batch 1, by ONNX's inference or the importers, as far as known.

    Each side knows operators that the other lacks. Raises
    ModelError.
    """
    inferred = onnx.shape_inference.infer_shapes(bound(model, source), data_prop=True)
    graph = inferred.graph
    every = tuple(range(len(graph.node)))
    names, output = node_names(graph), graph.output[0].name
    scope, _ = _import_nodes(inferred, names, every, output, opset_of(model), source)
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {value.name: _static_shape(value) for value in values}
    imported = {name: tensor.shape for name, tensor in scope.tensors.items()}
    return imported | {name: shape for name, shape in found.items() if shape}


def chosen_output(model: onnx.ModelProto, source: str, output: str | None) -> str:
    """The name of the one output that counts."""
    names: list[str] = [value.name for value in model.graph.output]
    if output is None and len(names) == 1:
        return names[0]
    if output is None:
        only = only_real_output(model)
        if only is None:
            raise ModelError(f"{source}: {several_outputs(model, source)}")
        return only
    listed = ", ".join(f"'{name}'" for name in names)
    if output not in names:
        raise UserError(f"{source}: has no output '{output}'; its outputs are {listed}")
    return output


def _read_elsewhere(
    proto: onnx.GraphProto, live: Sequence[int], output: str, scope: Scope
) -> tuple[str, ...]:
    """Values needed by the outputs left out of the graph: no pass may fold them away.

    Learned weights are written back into the whole file: its other outputs must not change.
    """
    rest = set(live_nodes(proto)) - set(live)
    read = {name for index in rest for name in proto.node[index].input}
    read.update(value.name for value in proto.output if value.name != output)
    return tuple(
        node_output
        for node in scope.nodes
        for node_output in node.outputs
        if node_output in read and node_output != output
    )


def _import_nodes(
    model: onnx.ModelProto,
    names: tuple[str, ...],
    live: Sequence[int],
    output: str,
    opset: int,
    source: str,
) -> tuple[Scope, list[Problem]]:
    proto = model.graph
    scope = Scope(
        initializers=frozenset(tensor.name for tensor in proto.initializer),
        read=frozenset(name for index in live for name in proto.node[index].input) | {output},
        names={name for node in proto.node for name in (*node.input, *node.output)},
        node_names=set(names),
    )
    try:
        scope.constants.update(constants.initializers(proto))
    except Unsupported as problem:
        raise ModelError(
            f"{source}: {problem.what}; supported: {problem.supported}, export it again"
        ) from problem
    for value in proto.input:
        if value.name not in scope.initializers:
            shape = _static_shape(value)
            if shape is None or prod(shape) > 1 << 26:
                raise ModelError(f"{source}: input '{value.name}' is too large: {shape}")
            _add_input(value, shape, scope)
    if any(scope.is_int8(name) for name in scope.tensors):
        know_scales(_decodable(proto, names, live, opset), scope)
    inferred = {
        value.name: _static_shape(value)
        for value in proto.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    problems = []
    for index in live:
        try:
            _import_node(proto.node[index], names[index], opset, scope)
        except UnknownInput:
            pass  # the node that it depends on is already among the problems
        except Unsupported as problem:
            op = proto.node[index].op_type
            problems.append(Problem(names[index], op, problem.what, problem.supported))
            _stand_in(proto.node[index], names[index], scope, inferred)
    if output in scope.tensors and scope.tensors[output].dtype == "int8":
        as_real_numbers(scope, output)
    return scope, problems


def _add_input(value: onnx.ValueInfoProto, shape: tuple[int, ...], scope: Scope) -> None:
    """An input of the network; uint8 ones are int8 in the IR."""
    if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
        scope.add(Tensor(value.name, shape))
        return
    scope.add(Tensor(value.name, shape, dtype="int8"))
    if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        scope.unsigned.add(value.name)


def _import_node(proto: onnx.NodeProto, name: str, opset: int, scope: Scope) -> None:
    """Fold a node on constants, or let its importer append what it becomes."""
    op = proto.op_type
    fault = domain_fault(op, proto.domain)
    if fault:
        raise Unsupported(fault)
    node = _decoded(proto, name, opset)
    if op == "Constant":
        scope.constants[node.outputs[0]] = constants.constant_node(node)
        return
    if op in ("Shape", "Size") and (shape := _known_shape(node, scope)) is not None:
        value = constants.shape_node(node, shape) if op == "Shape" else np.int64(prod(shape))
        scope.constants[node.outputs[0]] = np.asarray(value)
        return
    given = {slot: scope.constants.get(slot) for slot in node.inputs if slot}
    known = {slot: value for slot, value in given.items() if value is not None}
    if op in constants.FOLDABLE and len(known) == len(given):
        made = constants.evaluate(node, proto, known)
        scope.constants.update(zip(node.outputs, made, strict=True))
        if op in constants.PERMUTING and node.input(0) in scope.dequantized:
            scope.dequantized[node.outputs[0]] = scope.dequantized[node.input(0)]
    elif op in MOVING and any(scope.is_int8(name) for name in given):
        through_real_numbers(node, scope, IMPORTERS[op].function)
    elif op in IMPORTERS:
        IMPORTERS[op].function(node, scope)
    elif any(slot not in scope.tensors and slot not in scope.constants for slot in given):
        raise UnknownInput
    else:
        raise Unsupported("its inputs are not constants", "this operator on constants")


def _known_shape(node: OnnxNode, scope: Scope) -> tuple[int, ...] | None:
    name = node.input(0)
    if name in scope.tensors:
        return scope.tensors[name].shape
    return scope.constants[name].shape if name in scope.constants else None


def _decodable(
    proto: onnx.GraphProto, names: Sequence[str], live: Sequence[int], opset: int
) -> list[OnnxNode]:
    """The nodes as importers see them, without those that have attributes of no known form."""
    nodes = []
    for index in live:
        with suppress(Unsupported):
            nodes.append(_decoded(proto.node[index], names[index], opset))
    return nodes


def _decoded(proto: onnx.NodeProto, name: str, opset: int) -> OnnxNode:
    attrs = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            raise Unsupported(f"attribute {attribute.name} refers to a function's", "its value")
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise Unsupported(f"attribute {attribute.name} has no known type", "one") from error
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        attrs[attribute.name] = text
    return OnnxNode(name, proto.op_type, tuple(proto.input), tuple(proto.output), attrs, opset)


def _stand_in(
    proto: onnx.NodeProto,
    name: str,
    scope: Scope,
    inferred: Mapping[str, tuple[int, ...] | None],
) -> None:
    """Let the nodes after one that cannot be imported be looked at, where its shapes are known."""
    outputs = tuple(value for value in proto.output if inferred.get(value))
    inputs = tuple(value for value in proto.input if value in scope.tensors)
    if inputs and outputs and not any(value in scope.tensors for value in outputs):
        scope.nodes.append(Node(OPAQUE, name, inputs, outputs))
        for value in outputs:
            scope.add(Tensor(value, inferred[value] or ()))


def _leftovers(graph: Graph) -> list[Problem]:
    """The nodes that only a pass could have made compilable, and none has."""
    problems = []
    for node in graph.nodes:
        rule = OPERATORS[node.op].leftover if node.op in OPERATORS else None
        found = rule(node, graph) if rule else None
        if found is not None:
            problems.append(Problem(node.name, node.op, found.what, found.supported))
    return problems


def _check(graph: Graph, model: onnx.ModelProto, source: str) -> None:
    """Check the assumptions of all later stages, and that ONNX's shape inference agrees."""
    output = graph.outputs[0]
    if not graph.inputs:
        raise ModelError(f"{source}: its output '{output}' does not depend on its input")
    if output not in graph.producer:
        raise ModelError(f"{source}: its output '{output}' is not computed from its input")
    for value in (*model.graph.value_info, *model.graph.output):
        inferred = _static_shape(value)
        tensor = graph.tensors.get(value.name)
        if inferred is None or tensor is None or tensor.data is not None:
            continue
        if tensor.shape not in (inferred, (1, *inferred)):
            raise ModelError(
                f"{source}: tensor '{value.name}' has the shape {inferred} by ONNX's rules and "
                f"{tensor.shape} by tinyodl's; this is a fault of tinyodl, please report the model"
            )
    names = [node.name for node in graph.nodes]
    wrong = [
        node.name
        for node in graph.nodes
        if output_shapes(node, graph)
        != tuple(graph.shape(name) if name else () for name in node.outputs)
    ]
    if wrong or len(set(names)) != len(names):
        raise ModelError(
            f"{source}: the imported graph contradicts itself at {wrong or names}; "
            "this is a fault of tinyodl, please report the model"
        )


def _static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of a tensor when every dimension is known."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
    return shape if all(size > 0 for size in shape) else None
