"""How much each layer and channel of a network matters on some samples: the evidence of `auto`.

One forward and backward pass over the samples, in this process and with the C of a board, sums up
Delta of every channel (`tinyodl.ops.channel_delta`). Nothing learns in it. A fresh head says
nothing about the layers before it, so it learns from the samples first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.frontend import Prepared
from tinyodl.graph import Array, Graph, Tensor
from tinyodl.host_run.network import HostNetwork
from tinyodl.learning.importance import Measured, delta_name, inputs_name, measurable, shift_name
from tinyodl.learning.losses import with_fitting_loss
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.ops import OPERATORS, biases_of, layers_of
from tinyodl.planner.lowering import lower
from tinyodl.project.manifest import ANY_LABEL
from tinyodl.project.plan import LABELLED, UpdatePlan
from tinyodl.samples.data import load_inputs, load_labelled
from tinyodl.samples.recordings import recordings, side_by_side
from tinyodl.targets.boards import load_board

Values = NDArray[np.float64]

MOST_SAMPLES = 256
MOST_MACS = 3_000_000_000  # of the whole pass, which is then a matter of seconds
MOST_FEATURES = 64  # samples for the mean length of what the last layer reads
HEAD_PASSES = 3
HEAD_RATE = 0.3  # of steps divided by |x|^2


@dataclass(frozen=True)
class Samples:
    """Samples to choose with: N of them, in the order of their recording.

    x       (N, ...) as the network takes them
    y       (N,) class numbers; None where the loss needs none
    groups  (N,) which recording each is of; None where that is not known
    """

    x: Array
    y: Array | None = None
    groups: Array | None = None


@dataclass(frozen=True)
class Layer:
    """What a pass says of one layer. All values are means over the samples.

    outputs  (channels,) Delta of each output channel
    inputs   (channels,) the same of its input channels, scaled so that their sum is that of
             `outputs`; None where nothing is known of them
    bias     the value of its biases together
    """

    outputs: Values
    inputs: Values | None
    bias: float

    @property
    def whole(self) -> float:
        """The Fisher potential of the layer: the sum over its channels."""
        return float(self.outputs.sum())


@dataclass(frozen=True)
class Importance:
    """What a pass over `samples` samples says of the layers of a network, by name.

    `reach` is 1 and the mean of |x|^2, where x is what the last layer reads: a step of the last
    layer at the rate 1 / reach goes as far as the sample asks for.
    """

    layers: Mapping[str, Layer]
    samples: int
    reach: float


def load_samples(path: Path, graph: Graph, plan: UpdatePlan) -> Samples:
    """The samples of a file for a network that learns class labels.

    `groups` (N,) of an .npz says which recording each is of. Where the loss needs no label, none is
    read. Raises DataError.
    """
    shapes = {name: graph.shape(name) for name in graph.inputs}
    if plan.loss not in LABELLED:
        parts, y = load_inputs(path, shapes, graph.shape(graph.outputs[0])), None
    else:
        parts, y = load_labelled(path, shapes, plan.classes(_outputs(graph)) or ANY_LABEL)
    x = side_by_side(parts)
    return Samples(x, y, recordings(path, len(x)))


def _outputs(graph: Graph) -> int:
    return graph.tensor(graph.outputs[0]).size


def importance(prepared: Prepared, plan: UpdatePlan, samples: Samples) -> Importance:
    """Measures all layers from which gradients come, with the loss of `plan`.

    The network is as in the file; of more than MOST_SAMPLES samples, or of fewer where a step of
    the network is long, an even choice is taken. Raises ToolError where there is no C compiler,
    DataError for samples that do not fit the network.
    """
    plan = with_fitting_loss(plan.model_copy(update={"layers": {}, "beside": {}}), prepared.graph)
    graph = prepared.under(plan)
    if prepared.head:
        graph = _with_learned_head(prepared, plan, graph, samples)
    layers = list(layers_of(graph))
    measured = Measured(frozenset(measurable(graph, layers)))
    training = differentiate(graph, plan, prepared.begun, prepared.errors, measured)
    macs = sum(OPERATORS[node.op].macs(node, training) for node in training.nodes)
    rows = _even(len(samples.x), max(16, min(MOST_SAMPLES, MOST_MACS // max(1, macs))))
    last = graph.tensor(layers[-1].inputs[0])
    training = replace(training, outputs=(last.name, *training.outputs[1:]))  # to be read here
    with HostNetwork(training, plan_arena(training), plan) as net:
        read = _real(net.forward_all(samples.x[rows[:MOST_FEATURES]]), last)
        net.train_all(samples.x[rows], None if samples.y is None else samples.y[rows])
        found = {
            node.name: _layer(net, node.name, bool(biases_of(node, graph)), len(rows))
            for node in layers
            if node.name in measured.layers and delta_name(node.name) in training.tensors
        }
    length = float((read.reshape(len(read), -1) ** 2).sum(1).mean())
    return Importance(found, len(rows), 1 + length)


def _real(values: Array, tensor: Tensor) -> Values:
    """Integers as the real numbers they stand for."""
    if tensor.quantization is None or tensor.dtype == "float32":
        return np.asarray(values, np.float64)
    return tensor.quantization.scale[0] * (
        values.astype(np.float64) - tensor.quantization.zero_point
    )


def _layer(net: HostNetwork, name: str, has_bias: bool, count: int) -> Layer:
    kept = {tensor.name for tensor in net.parameters}
    outputs = np.asarray(net.parameter(delta_name(name)), np.float64) / count
    shift = np.asarray(net.parameter(shift_name(name)), np.float64) / count
    inputs = None
    if inputs_name(name) in kept:
        inputs = np.asarray(net.parameter(inputs_name(name)), np.float64) / count
        total = inputs.sum()
        inputs = inputs * (outputs.sum() / total) if total > 0 else None
    return Layer(outputs, inputs, float(shift.sum()) if has_bias else 0.0)


def _even(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` rows, as far apart as they can be."""
    if count <= most:
        return np.arange(count)
    return np.arange(most, dtype=np.int64) * count // most


def _with_learned_head(
    prepared: Prepared, plan: UpdatePlan, graph: Graph, samples: Samples
) -> Graph:
    """The graph whose fresh head has learned from the samples for a few shuffled passes."""
    layers: dict[str, Any] = dict.fromkeys(prepared.head, "weights")
    rule = {"layers": layers, "optimizer": "sgd", "bound": "normalised", "batch": 1}
    learning = plan.model_copy(update={**rule, "learning_rate": HEAD_RATE})
    lowered = lower(prepared, learning, load_board("host"))
    random = np.random.default_rng(0)
    rows = _even(len(samples.x), MOST_SAMPLES)
    with HostNetwork.of(lowered) as net:
        for _ in range(HEAD_PASSES):
            order = random.permutation(rows)
            net.train_all(samples.x[order], None if samples.y is None else samples.y[order])
        learned = {t.name: net.parameter(t.name) for t in net.parameters if t.origin is not None}
    known = [graph.tensors[name] for name in learned if name in graph.tensors]
    return graph.with_tensors(replace(tensor, data=learned[tensor.name]) for tensor in known)
