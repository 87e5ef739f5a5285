"""Linear models of scikit-learn: operators of ai.onnx.ml as ONNX's own.

    Scaler            y = (x - offset) * scale        Sub, Mul
    Normalizer        y = x / |x|                     ReduceL1, ReduceL2 or ReduceMax; Max, Div
    LinearRegressor   y = x W' + b                    Gemm
    LinearClassifier  scores likewise                 Gemm, and Softmax or Sigmoid
    ZipMap            scores with their labels        its input is the output

Labels as an output are left out: they are the largest score. The weights, which these operators
have as attributes, become initializers, so that learned ones can be written back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tinyodl.frontend.edit import drop_unused, fresh_name
from tinyodl.frontend.load import opset_of
from tinyodl.frontend.names import node_names
from tinyodl.graph import Array

DOMAIN = "ai.onnx.ml"
_SMALLEST = np.full((), 1e-38, np.float32)  # a norm of 0 leaves zeros
_NORMS = {"L1": "ReduceL1", "L2": "ReduceL2", "MAX": "ReduceMax"}
_TRANSFORMS = {"NONE": "", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
_AXES_ARE_AN_INPUT = 18  # of the Reduce operators, from this opset on


def as_standard(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str] | None:
    """A copy with these operators replaced, and the change in words; None if it has none of them.

    What cannot be replaced stays, for the import to name.
    """
    if not any(node.domain == DOMAIN for node in model.graph.node):
        return None
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node, name in zip(made.graph.node, node_names(model.graph), strict=True):
        node.name = name
    writer = _Writer(made)
    replaced = [node.op_type for node in list(made.graph.node) if writer.replaces(node)]
    if not replaced:
        return None
    writer.leave_labels_out()
    _import_what_is_used(made)
    listed = ", ".join(dict.fromkeys(replaced))
    return made, f"{listed} of {DOMAIN} replaced by ONNX's own operators"


class _Writer:
    """Replaces nodes of one model in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph, self.opset = model.graph, opset_of(model)
        self.labels: set[str] = set()  # values that nothing makes any more

    def replaces(self, node: onnx.NodeProto) -> bool:
        """Replace a node; False where it is none of these, or has another form."""
        rules = {
            "Scaler": self._scaler,
            "Normalizer": self._normalizer,
            "LinearRegressor": self._regressor,
            "LinearClassifier": self._classifier,
            "ZipMap": self._zip_map,
        }
        rule = rules.get(node.op_type) if node.domain == DOMAIN else None
        if rule is None:
            return False
        attrs = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        made = rule(node, attrs)
        if made is None:
            return False
        place = list(self.graph.node).index(node)
        self.graph.node.remove(node)
        for index, each in enumerate(made):
            self.graph.node.insert(place + index, each)
        return True

    def leave_labels_out(self) -> None:
        """Take away the outputs that depend on labels that are gone."""
        gone = set(self.labels)
        for node in self.graph.node:
            if gone.intersection(node.input):
                gone.update(node.output)
        kept = [value for value in self.graph.output if value.name not in gone]
        del self.graph.output[:]
        self.graph.output.extend(kept)
        drop_unused(self.graph)

    def _scaler(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> list[onnx.NodeProto] | None:
        steps = []
        for op, attribute in (("Sub", "offset"), ("Mul", "scale")):
            values = np.array(attrs.get(attribute, []), np.float32)
            if values.size:
                steps.append((op, self._held(f"{node.name}.{attribute}", values)))
        return self._chain(node, node.output[0], [(op, [held], {}) for op, held in steps])

    def _normalizer(
        self, node: onnx.NodeProto, attrs: dict[str, Any]
    ) -> list[onnx.NodeProto] | None:
        norm = _NORMS[attrs.get("norm", b"MAX").decode()]
        size, least = (fresh_name(self.graph, f"{node.name}.{part}") for part in ("size", "norm"))
        axes: list[str] = []
        along: dict[str, Any] = {"axes": [1]}
        if self.opset >= (13 if norm == "ReduceSum" else _AXES_ARE_AN_INPUT):
            axes, along = [self._held(f"{node.name}.axes", np.array([1]))], {}
        smallest = self._held(f"{node.name}.least", _SMALLEST)
        x = node.input[0]
        return [
            onnx.helper.make_node(norm, [x, *axes], [size], f"{node.name}.norm", **along),
            onnx.helper.make_node("Max", [size, smallest], [least], f"{node.name}.least"),
            onnx.helper.make_node("Div", [x, least], [node.output[0]], node.name),
        ]

    def _regressor(
        self, node: onnx.NodeProto, attrs: dict[str, Any]
    ) -> list[onnx.NodeProto] | None:
        targets = attrs.get("targets", 1)
        if attrs.get("post_transform", b"NONE") != b"NONE":
            return None
        return self._chain(node, node.output[0], [self._dense(node, attrs, targets)])

    def _classifier(
        self, node: onnx.NodeProto, attrs: dict[str, Any]
    ) -> list[onnx.NodeProto] | None:
        labels = attrs.get("classlabels_ints") or attrs.get("classlabels_strings") or []
        after = _TRANSFORMS.get(attrs.get("post_transform", b"NONE").decode())
        coefficients = np.array(attrs["coefficients"], np.float32)
        intercepts = attrs.get("intercepts", [])
        rows = len(intercepts) or len(labels)
        if after is None or len(node.output) < 2 or rows != len(labels) or coefficients.size % rows:
            return None  # one row of weights for two classes, too
        steps = [self._dense(node, attrs, rows)]
        if after:
            steps.append((after, [], {"axis": 1} if after == "Softmax" else {}))
        self.labels.add(node.output[0])
        return self._chain(node, node.output[1], steps)

    def _zip_map(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> list[onnx.NodeProto] | None:
        """The network's output is what the ZipMap reads, under its own name."""
        for index, value in enumerate(self.graph.output):
            if value.name == node.output[0]:
                score = onnx.helper.make_empty_tensor_value_info(node.input[0])
                score.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
                del self.graph.output[index]
                self.graph.output.insert(index, score)
                return []
        return None

    def _dense(
        self, node: onnx.NodeProto, attrs: dict[str, Any], rows: int
    ) -> tuple[str, list[str], dict[str, Any]]:
        weight = np.array(attrs["coefficients"], np.float32).reshape(rows, -1)
        bias = np.array(attrs.get("intercepts") or np.zeros(rows), np.float32)
        held = [self._held(f"{node.name}.coefficients", weight)]
        return "Gemm", [*held, self._held(f"{node.name}.intercepts", bias)], {"transB": 1}

    def _chain(
        self,
        node: onnx.NodeProto,
        output: str,
        steps: list[tuple[str, list[str], dict[str, Any]]],
    ) -> list[onnx.NodeProto]:
        """Nodes one behind the other, from the node's input to `output`; the first has its name."""
        x, made = node.input[0], []
        for index, (op, held, attrs) in enumerate(steps or [("Identity", [], {})]):
            last = index == max(len(steps), 1) - 1
            y = output if last else fresh_name(self.graph, f"{node.name}.{op.lower()}")
            name = node.name if index == 0 else f"{node.name}.{op}"
            made.append(onnx.helper.make_node(op, [x, *held], [y], name, **attrs))
            x = y
        return made

    def _held(self, name: str, value: Array) -> str:
        name = fresh_name(self.graph, name)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name


def _import_what_is_used(model: onnx.ModelProto) -> None:
    """Leave the domain out of the imports where no node is of it any more."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx", *used)]
    del model.opset_import[:]
    model.opset_import.extend(kept)
