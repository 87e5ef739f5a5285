"""From the user's ONNX file to the project's model.onnx and its Graph.

Options that change the network (--cut, --simplify, --precision, --head) edit the ONNX file before
it is imported. So the project's model.onnx is the network that runs, and `export` writes learned
weights back into this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Literal, get_args

import onnx

from tinyodl.errors import UserError
from tinyodl.frontend.build import chosen_output, import_checked
from tinyodl.frontend.cut import cut_model, ending_at
from tinyodl.frontend.grow import last_layer
from tinyodl.frontend.head import Head, Headed, classifier_input, with_head
from tinyodl.frontend.load import load_model, loaded
from tinyodl.frontend.opening import Opened, opened
from tinyodl.frontend.opening.outputs import only_real_output
from tinyodl.frontend.passes import with_hashed_layer
from tinyodl.frontend.start import Layers, Start, reconstruction_errors, started
from tinyodl.frontend.tap import shape_of, tapped
from tinyodl.graph import Array, Graph
from tinyodl.learning.beside.record import Seen
from tinyodl.learning.learners.learner import Begun
from tinyodl.project.manifest import CalibrationRecord
from tinyodl.project.plan import UpdatePlan

Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Changes:
    """The changes to the file before it is imported; see `docs/importing.md`."""

    output: str | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of inputs, by name
    cut: str | None = None
    taps: tuple[str, ...] = ()  # the nodes that the head reads, side by side
    head: Head | None = None
    seed: int = 0  # of the head's weights
    start: Start | None = None  # samples from which the head's last layer begins
    simplify: bool = False
    precision: Precision = "float32"  # int8: quantise a float32 file
    calibrate: Path | None = None  # the samples to quantise it with
    check: bool = True  # compare the changed file's results with the original's


@dataclass(frozen=True)
class Prepared:
    """The model as the project keeps it, its graph, and the layers of a fresh head.

    In the graph all layers that can learn are nodes of their own. `hashed` is the layer whose
    weights are the hash of `seed`.
    """

    path: Path
    data: bytes
    output: str | None
    graph: Graph
    head: tuple[str, ...] = ()
    calibration: CalibrationRecord | None = None
    hashed: str | None = None
    standardized: str | None = None  # the BatchNormalization with learned statistics
    seen: int = 0  # samples in these statistics
    labels: tuple[int, ...] = ()  # of the first outputs, if outputs take labels as they come
    seed: int = 0
    errors: Array | None = None  # of --start: of an autoencoder's reconstructions
    begun: Begun = field(default_factory=dict)  # of --start: the rule's states
    shown: Seen | None = None  # the samples of --start
    samples: tuple[Path, ...] = ()  # the files of --calibrate and --start
    notes: tuple[str, ...] = ()  # what was changed in the file, a clause each
    _built: list[tuple[Mapping[str, bool], Graph]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def under(self, plan: UpdatePlan) -> Graph:
        """The graph after layers have absorbed the nodes behind them that are frozen in the plan.

        The import asks the plan whether each layer learns that another could absorb. Plans with the
        same answers share one graph.
        """
        for answers, graph in self._built:
            if all(plan.learns(layer) == answer for layer, answer in answers.items()):
                return graph
        asked: dict[str, bool] = {}

        def learns(layer: str) -> bool:
            return asked.setdefault(layer, plan.learns(layer))

        model = load_model(self.path, self.data)
        graph = import_checked(model, str(self.path), self.output, learns).graph
        graph = with_hashed_layer(graph, self.hashed, self.seed) if self.hashed else graph
        self._built.append((asked, graph))
        return graph


def prepare(path: Path, changes: Changes) -> Prepared:
    """Read, change, check and import an ONNX file.

    Without changes the data is the file's own. Raises ModelError; UserError for a node, output or
    head that cannot be.
    """
    start = changes.start
    files = (changes.calibrate, start.samples if start else None)
    file = opened(path, changes.shapes, "" if changes.cut else changes.output)
    made = _prepared(path, file, changes)
    made = replace(made, samples=tuple(filter(None, files)), notes=_notes(file, changes))
    if not (start and start.reconstruction):
        return made
    errors = reconstruction_errors(
        made.data, made.graph, start.samples, start.reconstruction, str(path)
    )
    return replace(made, errors=errors)


def _notes(file: Opened, changes: Changes) -> tuple[str, ...]:
    """What was changed in the file, and which of its outputs is taken, in words."""
    only = only_real_output(file.model)
    if only is None or changes.output or changes.cut:
        return file.notes
    return (
        *file.notes,
        f"of {len(file.model.graph.output)} outputs '{only}' is the only one of real numbers",
    )


def _prepared(path: Path, file: Opened, changes: Changes) -> Prepared:
    source = str(path)
    samples = _samples(changes)
    if changes.taps and not changes.head:
        raise UserError("--tap says what a fresh head reads; give --head or --learner too")
    if not (changes.cut or changes.head or changes.simplify or samples):
        model = loaded(file.model, source)
        imported = import_checked(model, source, changes.output, lambda layer: True)
        return Prepared(path, file.data, changes.output, imported.graph)
    from tinyodl.frontend.simplify import check_same, simplified  # onnxruntime loads slowly

    head = changes.head
    last = last_layer(path, file.data, changes.output) if head and head.grows else None
    original = model = file.model
    output = changes.output
    classes = _classes(model, output, source) if head and None in head.sizes else 0
    if changes.cut:
        if output is not None:
            raise UserError("--cut ends the network at a node; leave --output away")
        if changes.taps:
            raise UserError("--cut and --tap both say where the head is put; give one of them")
        model = cut_model(model, changes.cut, source)
    if changes.simplify:
        model = simplified(model, source)
    on = chosen_output(model, source, output) if head or samples else ""
    if changes.taps:
        model, on = tapped(model, changes.taps, source)
    elif head and not changes.cut:
        on = classifier_input(model, on) or on
    real, calibration = None, None
    if samples:
        from tinyodl.frontend.quantize import quantized

        int8 = quantized(ending_at(model, on, source), samples, source, scores=not head)
        real, model, calibration = int8.real, int8.model, int8.calibration
        output = None
    headed = None
    if head:
        shape = shape_of(model, on, source)
        begun = (last.weight, last.bias) if last else None
        headed = with_head(model, on, shape, head, begun, classes, changes.seed, source, original)
        model, output = headed.model, None
    data = model.SerializeToString(deterministic=True)
    imported = import_checked(load_model(path, data), source, output, lambda layer: True)
    if changes.check:
        check_same(original, model if real is None else real, source)
    made = Prepared(path, data, output, imported.graph, calibration=calibration)
    if last:
        made = replace(made, labels=last.labels)
    return made if headed is None else _with_head(made, headed, changes)


def _with_head(prepared: Prepared, headed: Headed, changes: Changes) -> Prepared:
    """`prepared` with the facts about its fresh head."""
    made = replace(prepared, head=headed.layers, standardized=headed.standardized)
    if changes.start:
        source = str(made.path)
        layers = Layers(made.head[-1], headed.standardized)
        fit = started(headed.model, made.graph, layers, changes.start, source)
        data = fit.model.SerializeToString(deterministic=True)
        graph = import_checked(load_model(made.path, data), source, None, lambda layer: True).graph
        made = replace(made, data=data, graph=graph, begun=fit.begun, shown=fit.shown)
        made = replace(made, seen=fit.seen if headed.standardized else 0, labels=fit.labels)
    if headed.hashed:
        graph = with_hashed_layer(made.graph, headed.hashed, changes.seed)
        made = replace(made, graph=graph, hashed=headed.hashed, seed=changes.seed)
    return made


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


def _classes(model: onnx.ModelProto, output: str | None, source: str) -> int:
    """The number of outputs of the model, for a head with as many. Raises UserError."""
    value = chosen_output(model, source, output)
    shape = shape_of(model, value, source)
    if classifier_input(model, value) is None or prod(shape) != shape[-1]:
        raise UserError(
            f"{source}: its output {value!r} of shape {shape} is not that of a classifier; say how "
            "many classes there are, with --classes N or --head dense:N"
        )
    return shape[-1]
