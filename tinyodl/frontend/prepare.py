"""From the user's ONNX file to the one that a project keeps, and its Graph.

Options that change the network (--simplify, --cut, --head) are edits of the ONNX file, before it is
imported. So the project's model.onnx is the network that runs, and `export` writes learned weights
back into that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.shape_inference

from tinyodl.errors import ModelError, UserError
from tinyodl.frontend.build import chosen_output, import_checked
from tinyodl.frontend.cut import cut_model, ending_at
from tinyodl.frontend.head import classifier_input, head_sizes, with_head
from tinyodl.frontend.load import bound, load_model, model_bytes, read_model
from tinyodl.graph import Graph
from tinyodl.update_plan import UpdatePlan


@dataclass(frozen=True)
class Changes:
    """What to do to the file before it is imported; see `docs/importing.md`."""

    output: str | None = None
    cut: str | None = None
    head: str | None = None
    seed: int = 0  # of the head's weights
    simplify: bool = False
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
    if not (changes.cut or changes.head or changes.simplify):
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
    layers: tuple[str, ...] = ()
    if sizes:
        on = chosen_output(model, source, output)
        if not changes.cut:
            on = classifier_input(model, on) or on
        headed = with_head(model, on, _shape(model, on, source), sizes, changes.seed, source)
        model, layers = headed.model, headed.layers
        output = None
    data = model.SerializeToString(deterministic=True)
    loaded = load_model(path, data)
    imported = import_checked(loaded, source, output, lambda layer: True)
    if changes.check:
        check_same(original, model, source)
    return Prepared(path, data, output, imported.graph, layers)


def _shape(model: onnx.ModelProto, value: str, source: str) -> tuple[int, ...]:
    """The shape of a value with batch 1, by ONNX's own inference."""
    ending = bound(ending_at(model, value, source), source)
    inferred = onnx.shape_inference.infer_shapes(ending, data_prop=True)
    dimensions = inferred.graph.output[0].type.tensor_type.shape.dim
    shape = tuple(dimension.dim_value for dimension in dimensions)
    if not all(size > 0 for size in shape):
        raise ModelError(
            f"{source}: the shape of '{value}' is not known before it runs; "
            "a head needs a fixed number of features"
        )
    return shape
