"""The ONNX project's own node tests, put into the form in which tinyodl meets a network.

What a case gives as an input of the graph is a weight, a shape or an axis in a real model. Inputs
that are not float32, and those that the import wants to be constant, become initializers with the
values of the test. The other inputs come as one row (batch 1) that a Reshape gives its shape, so
that the test's first dimension is any dimension. A case whose result is a constant is added to an
input of zeros: what was folded must still arrive.

Which cases are left out is decided by `reason_to_exclude` from the case alone.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinyodl.errors import ModelError
from tinyodl.frontend import constants, import_model
from tinyodl.frontend.load import NEWEST_OPSET, OLDEST_OPSET
from tinyodl.graph import Array, Graph
from tinyodl.ops import IMPORTERS

FOLDED = frozenset({"Constant", "ConstantOfShape", "Gather", "Shape"}) - frozenset(IMPORTERS)
OPERATORS = tuple(sorted({*IMPORTERS, *FOLDED}))
_WINDOWS = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool"})
_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout"})
_ON_CONSTANTS = constants.FOLDABLE | set(IMPORTERS) | FOLDED | {"Size"}
_CROP = b"tf_crop_and_resize"
_SUFFIX = re.compile(r"_expanded(_ver\d+)?$")
_WANTS_CONSTANT = re.compile(r"input '([^']+)' is not a constant")


@dataclass(frozen=True)
class Case:
    """One node test: the model, and one set of inputs and expected outputs."""

    name: str
    model: onnx.ModelProto
    inputs: Mapping[str, object] = field(repr=False)
    outputs: Mapping[str, object] = field(repr=False)
    rtol: float
    atol: float

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(node.op_type for node in self.model.graph.node)


@dataclass(frozen=True)
class Form:
    """A case as a network with one output: its graph, the inputs by name, what must come out."""

    graph: Graph
    path: Path
    inputs: Mapping[str, Array]
    expected: Array


@cache
def all_cases() -> dict[str, tuple[Case, ...]]:
    """The cases of each of `OPERATORS`, those of its expanded function bodies included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX makes its expected values as it is imported
        from onnx.backend.test.loader import load_model_tests

        loaded = load_model_tests(kind="node")
    single = {case.name: case.model.graph.node[0].op_type for case in loaded}
    found: dict[str, list[Case]] = {op: [] for op in OPERATORS}
    for case in loaded:
        op = single.get(_SUFFIX.sub("", case.name), "")
        if op not in found:
            continue
        graph = case.model.graph
        given, wanted = case.data_sets[0]
        found[op].append(
            Case(
                case.name,
                case.model,
                {v.name: _value(x) for v, x in zip(graph.input, given, strict=True)},
                {v.name: _value(x) for v, x in zip(graph.output, wanted, strict=True)},
                case.rtol,
                case.atol,
            )
        )
    return {op: tuple(cases) for op, cases in found.items()}


def reason_to_exclude(op: str, case: Case) -> str:
    """Why a case is not float32 with static shapes, or beyond what issue and docs promise; ""."""
    opset = max((o.version for o in case.model.opset_import if o.domain == ""), default=0)
    if any(not isinstance(v, np.ndarray) for v in (*case.inputs.values(), *case.outputs.values())):
        kinds = {_kind(value) for value in (*case.inputs.values(), *case.outputs.values())}
        return f"{', '.join(sorted(kinds - {''}))} values"
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        return f"opset {opset}"
    if op in IMPORTERS and op != "Cast" and _first(case).dtype != np.float32:
        return f"{_first(case).dtype} data"
    if op not in FOLDED:
        for value in case.outputs.values():
            if value.dtype != np.float32:
                return f"{value.dtype} output"
    if any(value.size == 0 for value in case.outputs.values()):
        return "a tensor without elements"
    if any(v.size == 0 and v.dtype == np.float32 for v in case.inputs.values()):
        return "a tensor without elements"
    if _trains(op, case):
        return "training mode"
    if op in _WINDOWS and _first(case).ndim > 4:
        return "3-D windows"
    if op == "Tile" and _first(case).ndim > 3:
        return "more than 6 axes in one copy"
    if op in _WINDOWS and _first(case).shape[0] != 1:
        return "batch larger than 1"
    if (
        op == "Resize"
        and _attribute(case, "coordinate_transformation_mode") == b"tf_crop_and_resize"
    ):
        return "cropping"
    if op == "Resize" and _attribute(case, "keep_aspect_ratio_policy") not in (None, b"stretch"):
        return "an aspect ratio that is kept"
    if op == "Resize" and "downsample" in case.name and "align_corners" in case.name:
        return "onnxruntime makes other numbers of it"
    if op == "LSTM" and len(case.model.graph.node[0].input) > 7:
        return "peepholes"
    unknown = _unknown(case)
    if unknown:
        return f"expanded into {', '.join(sorted(unknown))}"
    return ""


def forms(op: str, case: Case, folder: Path) -> list[Form]:
    """The case as networks, one for each of its outputs. Raises ModelError."""
    constant = {
        name
        for name, value in case.inputs.items()
        if isinstance(value, np.ndarray) and (value.dtype != np.float32 or op in FOLDED)
    }
    made = []
    for index, output in enumerate(case.outputs):
        path = folder / f"{case.name}.{index}.onnx"
        while True:
            model, inputs = _network(case, output, constant)
            path.write_bytes(model.SerializeToString())
            try:
                graph = import_model(path)
                break
            except ModelError as error:
                wanted = _WANTS_CONSTANT.search(str(error))
                if wanted is None or wanted[1] not in case.inputs or wanted[1] in constant:
                    raise
                constant.add(wanted[1])
        expected = np.asarray(case.outputs[output], np.float32)
        made.append(Form(graph, path, {n: inputs[n] for n in graph.inputs}, expected))
    return made


def _network(
    case: Case, output: str, constant: set[str]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model with one output, constants as initializers, and the other inputs as rows."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    del graph.input[:], graph.output[:], graph.value_info[:]
    inputs: dict[str, Array] = {}
    views = []
    for name, value in case.inputs.items():
        if name in constant:
            graph.initializer.append(numpy_helper.from_array(value, name))
        else:
            views += _view(graph, f"{name}.row", name, value.shape, case.ops[0] in _VIEWS)
            inputs[f"{name}.row"] = value.reshape(1, -1)
    expected = case.outputs[output]
    if not inputs:
        views += _view(graph, "zero.row", "zero", expected.shape)
        inputs["zero.row"] = np.zeros((1, expected.size), np.float32)
        cast = helper.make_node("Cast", [output], [f"{output}.float"], to=TensorProto.FLOAT)
        graph.node.extend(
            (cast, helper.make_node("Add", ["zero", f"{output}.float"], [f"{output}.sum"]))
        )
        output = f"{output}.sum"
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend((*views, *nodes))
    for name, value in inputs.items():
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, expected.shape))
    return model, inputs


def _value(value: object) -> object:
    """An array where the case gives a number or a tensor of a type that numpy has."""
    if isinstance(value, np.generic | float):
        return np.asarray(value)
    if isinstance(value, TensorProto) and value.data_type == TensorProto.FLOAT:
        return numpy_helper.to_array(value)
    return value


def _view(
    graph: onnx.GraphProto, row: str, name: str, shape: tuple[int, ...], negated: bool = False
) -> list[onnx.NodeProto]:
    """Nodes that see a row in its shape; negated twice, so that a view of it computes something."""
    target = np.asarray(shape, np.int64)
    graph.initializer.append(numpy_helper.from_array(target, f"{name}.shape"))
    if not negated:
        return [helper.make_node("Reshape", [row, f"{name}.shape"], [name])]
    return [
        helper.make_node("Neg", [row], [f"{name}.once"]),
        helper.make_node("Neg", [f"{name}.once"], [f"{name}.twice"]),
        helper.make_node("Reshape", [f"{name}.twice", f"{name}.shape"], [name]),
    ]


def _unknown(case: Case) -> set[str]:
    """Operators of an expanded function that work on computed values, and are not imported."""
    graph = case.model.graph
    computed = {name for name, value in case.inputs.items() if _is_float(value)}
    found = set()
    for node in graph.node:
        on_computed = computed.intersection(node.input)
        if node.op_type in ("Shape", "Size"):
            continue
        if on_computed:
            computed.update(node.output)
        if node.op_type not in (set(IMPORTERS) if on_computed else _ON_CONSTANTS):
            found.add(node.op_type)
    return found - FOLDED


def _attribute(case: Case, name: str) -> object:
    """An attribute of the case's node; None where it has none."""
    found = [each for each in case.model.graph.node[0].attribute if each.name == name]
    return helper.get_attribute_value(found[0]) if found else None


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def _first(case: Case) -> Array:
    """The data that the case works on."""
    values = (*case.inputs.values(), *case.outputs.values())
    return next(value for value in values if isinstance(value, np.ndarray))


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return ""
    if isinstance(value, TensorProto):
        return TensorProto.DataType.Name(value.data_type).lower()
    return "sequence or optional"


def _trains(op: str, case: Case) -> bool:
    """BatchNormalization with batch statistics, Dropout that drops."""
    node = case.model.graph.node[0]
    if op == "BatchNormalization":
        return any(a.name == "training_mode" and a.i for a in node.attribute)
    return op == "Dropout" and case.name.startswith("test_training_dropout")
