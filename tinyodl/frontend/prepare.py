"""From the user's ONNX file to the one that a project keeps, and its Graph.

Options that change the network (--cut, --simplify, --precision, --head) are edits of the ONNX file,
before it is imported. So the project's model.onnx is the network that runs, and `export` writes
learned weights back into that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import onnx

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend.build import chosen_output, import_checked, value_shapes
from tinyodl.frontend.cut import cut_model, ending_at
from tinyodl.frontend.head import classifier_input, head_sizes, with_head
from tinyodl.frontend.load import load_model, model_bytes, read_model
from tinyodl.graph import Graph
from tinyodl.manifest import CalibrationRecord
from tinyodl.update_plan import UpdatePlan

Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Changes:
    """What to do to the file before it is imported; see `docs/importing.md`."""

    output: str | None = None
    cut: str | None = None
    head: str | None = None
    seed: int = 0  # of the head's weights
    simplify: bool = False
    precision: Precision = "float32"  # int8: quantise a float32 file
    calibrate: Path | None = None  # the samples for that
    check: bool = True  # that what is left computes the same as before


@dataclass(frozen=True)
class Prepared:
    """The model as the project keeps it, its graph, and the layers of a fresh head.

    In the graph all layers that can learn are nodes of their own.
    """

    path: Path
    data: bytes
    output: str | None
    graph: Graph
    head: tuple[str, ...] = ()
    calibration: CalibrationRecord | None = None

    def under(self, plan: UpdatePlan) -> Graph:
        """The graph in which layers absorb those behind them that the plan does not let learn."""
        model = load_model(self.path, self.data)
        return import_checked(model, str(self.path), self.output, plan.learns).graph


def prepare(path: Path, changes: Changes) -> Prepared:
    """Read, change, check and import an ONNX file.

    Without changes the data is the file's own. Raises ModelError; UserError for a node, output or
    head that cannot be.
    """
    source = str(path)
    samples = _samples(changes)
    if not (changes.cut or changes.head or changes.simplify or samples):
        imported = import_checked(load_model(path), source, changes.output, lambda layer: True)
        return Prepared(path, model_bytes(path), changes.output, imported.graph)
    from tinyodl.frontend.simplify import check_same, simplified  # onnxruntime loads slowly

    sizes = head_sizes(changes.head) if changes.head else ()
    original = model = read_model(path)
    output = changes.output
    if changes.cut:
        if output is not None:
            raise UserError("--cut ends the network at a node; leave --output away")
        model = cut_model(model, changes.cut, source)
    if changes.simplify:
        model = simplified(model, source)
    on = chosen_output(model, source, output) if sizes or samples else ""
    if sizes and not changes.cut:
        on = classifier_input(model, on) or on
    real, calibration = None, None
    if samples:
        from tinyodl.quantize import quantized

        made = quantized(ending_at(model, on, source), samples, source, scores=not sizes)
        real, model, calibration = made.real, made.model, made.calibration
        output = None
    layers: tuple[str, ...] = ()
    if sizes:
        headed = with_head(model, on, _shape(model, on, source), sizes, changes.seed, source)
        model, layers = headed.model, headed.layers
        output = None
    data = model.SerializeToString(deterministic=True)
    loaded = load_model(path, data)
    imported = import_checked(loaded, source, output, lambda layer: True)
    if changes.check:
        check_same(original, model if real is None else real, source)
    return Prepared(path, data, output, imported.graph, layers, calibration)


def _samples(changes: Changes) -> Path | None:
    """The samples to quantise with. Raises UserError."""
    if changes.precision not in get_args(Precision):
        raise UserError(f"precision {changes.precision}: give {' or '.join(get_args(Precision))}")
    if changes.precision == "int8" and changes.calibrate is None:
        raise UserError(
            "--precision int8 needs samples to find the range of each value: give some of what the "
            "board will see with --calibrate DATA.npz"
        )
    if changes.precision != "int8" and changes.calibrate is not None:
        raise UserError(
            "--calibrate is for --precision int8; give both, or leave --calibrate away (a model "
            "that is quantised already is taken as it is)"
        )
    return changes.calibrate


def _shape(model: onnx.ModelProto, value: str, source: str) -> tuple[int, ...]:
    """The shape of a value with batch 1."""
    shape = value_shapes(ending_at(model, value, source), source).get(value)
    if shape is None:
        raise ModelError(
            f"{source}: the shape of '{value}' is not known before it runs; "
            "a head needs a fixed number of features"
        )
    return shape
