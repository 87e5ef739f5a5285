"""Graph + UpdatePlan -> training Graph: forward, loss, backward and update nodes in one list.

`tinyodl.learning.walk` has the gradients; what replaces them, `tinyodl.learning.learners`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tinyodl.errors import ModelError, UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.candidates import with_pools
from tinyodl.learning.error_statistics import with_error_statistics
from tinyodl.learning.importance import NOTHING, Measured
from tinyodl.learning.learners import rule_of
from tinyodl.learning.learners.learner import Begun
from tinyodl.learning.logits import sigmoid_logits, softmax_logits
from tinyodl.learning.state_names import LABELS
from tinyodl.learning.tensors import LOSS, RESERVED, SAMPLE, TARGET, sample_inputs
from tinyodl.learning.walk import Walk
from tinyodl.ops import OPERATORS, biases_of, layers_of
from tinyodl.ops.shared.float_learning import whole_tensors
from tinyodl.ops.standardize import standardized, with_updates
from tinyodl.project.plan import UpdatePlan

_LOSSES = {
    "cross-entropy": "CrossEntropy",
    "binary-cross-entropy": "OneHotBinaryCrossEntropy",
    "one-hot": "OneHotSquaredError",
    "zero-one": "ZeroOne",
    "mse": "MeanSquaredError",
    "reconstruction": "MeanSquaredError",
    "reconstruction-cross-entropy": "BinaryCrossEntropy",
}


def differentiate(
    graph: Graph,
    plan: UpdatePlan,
    begun: Begun | None = None,
    errors: Array | None = None,
    measured: Measured = NOTHING,
) -> Graph:
    """The training graph of `graph` under `plan`.

    `begun` has the states of the plan's rule after earlier samples; `errors` are reconstruction
    errors the device begins with, as if it had seen them. `measured` layers say how much their
    channels matter, whether they learn or not; so it is for plans that learn by gradients.
    Raises UserError when the plan names a layer that does not exist or cannot learn, ModelError
    when an operator between the loss and a learning layer has no gradient.
    """
    for name in graph.tensors:
        if name.startswith(RESERVED):
            raise ModelError(f"tensor {name!r}: names that begin with {RESERVED!r} are reserved")
    graph = with_updates(_mark_parameters(graph, plan), plan.forgetting, plan.seen)
    graph = with_pools(graph, plan)
    _check_decay(graph, plan)
    rule = rule_of(plan)
    predicted = _loss_input(graph, plan)
    target: tuple[str, ...] = ()
    attrs: dict[str, Any] = {}
    kind = _LOSSES[plan.loss]
    if plan.is_binary(graph.tensor(graph.outputs[0]).size):
        kind = "LabelBinaryCrossEntropy"
    if plan.loss == "mse":
        target = (TARGET,)
        shape = graph.shape(predicted)
        graph = replace(graph, inputs=(*graph.inputs, TARGET)).with_tensors([Tensor(TARGET, shape)])
    elif plan.reconstructs:
        graph, sample = _with_sample_to_reconstruct(graph)
        target = (sample,)
    if plan.labels is not None:
        graph = graph.with_tensors([_labels(plan.labels, graph.tensor(predicted).size)])
        attrs = {} if rule.whole_loss else {"in_use": True}
    loss = Node(kind, "loss", (predicted, *target), (LOSS,), attrs, Phase.BACKWARD)
    graph = graph.with_tensors([Tensor(LOSS, (1,))])
    graph = replace(graph, nodes=(*graph.nodes, loss), outputs=(*graph.outputs, LOSS))
    if plan.reconstructs:
        graph = with_error_statistics(graph, plan, LOSS, errors)
    learns = any(t.storage is Storage.PARAMETER for t in graph.tensors.values())
    if not learns and not measured.layers:
        return graph
    if rule.replaces:
        return rule.replaces(graph, plan, loss, begun or {})

    needing = _needing_gradient(graph, measured)
    graph = _saving(graph, plan, needing)
    walk = Walk(graph, plan, needing, measured)
    if plan.optimizer == "adam" and learns and not plan.summed:
        walk.tick()
    walk.add(predicted, walk.emit(f"{kind}Gradient", loss, (predicted, *target), like=predicted))
    walk.backward()
    return walk.result()


def _check_decay(graph: Graph, plan: UpdatePlan) -> None:
    """Raises UserError where weights would decay that are integers."""
    learning = [t for t in graph.tensors.values() if t.storage is Storage.PARAMETER]
    for tensor in learning:
        if plan.weight_decay and tensor.dtype != "float32":
            raise UserError(
                f"weight_decay is for float32 layers, and {tensor.name!r} learns in "
                f"{tensor.dtype}; leave --weight-decay away, or let only a float32 head learn"
            )


def _loss_input(graph: Graph, plan: UpdatePlan) -> str:
    """The tensor that the loss is of. Raises UserError where a Sigmoid is wanted and none there."""
    if plan.loss == "cross-entropy":
        return softmax_logits(graph)
    if plan.loss in ("binary-cross-entropy", "reconstruction-cross-entropy"):
        return sigmoid_logits(graph, plan.loss)
    return graph.outputs[0]


def _with_sample_to_reconstruct(graph: Graph) -> tuple[Graph, str]:
    """The graph, and the input, which is the target too: the real numbers of an int8 one.

    Raises UserError where it cannot be.
    """
    names, output = sample_inputs(graph), graph.tensor(graph.outputs[0])
    given = graph.tensor(names[0])
    if len(names) > 1 or given.size != output.size:
        shapes = ", ".join(f"{graph.shape(name)} {graph.tensor(name).dtype}" for name in names)
        raise UserError(
            "loss reconstruction compares the output with the input, one tensor of as many values; "
            f"the output is {output.shape}, the input {shapes}"
        )
    if given.dtype == "float32":
        return graph, given.name
    real = Tensor(SAMPLE, given.shape)
    node = Node("DequantizeLinear", "sample", (given.name,), (SAMPLE,), {}, Phase.BACKWARD)
    return replace(graph.with_tensors([real]), nodes=(*graph.nodes, node)), SAMPLE


def _labels(known: tuple[int, ...], outputs: int) -> Tensor:
    """The table of what the outputs stand for."""
    if len(known) > outputs:
        raise UserError(
            f"the plan has {len(known)} labels, and the network {outputs} outputs; give more of "
            "them with --max-classes"
        )
    table = np.array([*known, *[-1] * (outputs - len(known))], np.int32)
    return Tensor(LABELS, (outputs,), Storage.STATE, "int32", table)


def _mark_parameters(graph: Graph, plan: UpdatePlan) -> Graph:
    """The graph with learning constants as parameters; a shared one learns if any layer does."""
    layers = {node.name: node for node in layers_of(graph)}
    changed: dict[str, Node] = {}
    tensors: dict[str, Tensor] = {}
    for name, update in plan.layers.items():
        if name not in layers:
            known = ", ".join(layers)
            raise UserError(f"the plan names layer {name!r}, which is not in the model: {known}")
        node = layers[name]
        if update == "none":
            continue
        if update == "bias" and not biases_of(node, graph):
            raise UserError(f"layer {name!r} has no bias to update; plan 'weights' or 'none'")
        learns = OPERATORS[node.op].learns or whole_tensors
        if update == "candidate" and node.op != "QLinearConv":
            raise UserError(
                f"layer {name!r} is float32, and no candidate: channels are chosen of int8 "
                "convolutions and dense layers; plan 'weights' or 'bias'"
            )
        if update == "statistics":
            changed[name], made = standardized(node, graph)
        else:
            changed[name], made = learns(node, graph, update)
        tensors.update((tensor.name, tensor) for tensor in made)
    return _with_changed(graph, changed, tensors)


def _saving(graph: Graph, plan: UpdatePlan, needing: frozenset[str]) -> Graph:
    """The graph whose forward nodes save the values needed by gradients that pass through them."""
    changed: dict[str, Node] = {}
    tensors: dict[str, Tensor] = {}
    for node in graph.nodes:
        saves = OPERATORS[node.op].saves
        if saves and needing.intersection(node.inputs):
            changed[node.name], made = saves(node, graph, plan)
            tensors.update((tensor.name, tensor) for tensor in made)
    return _with_changed(graph, changed, tensors)


def _with_changed(
    graph: Graph, changed: Mapping[str, Node], tensors: Mapping[str, Tensor]
) -> Graph:
    """The graph with nodes and tensors replaced or added, without tensors no longer used."""
    nodes = [changed.get(node.name, node) for node in graph.nodes]
    return graph.with_tensors(tensors.values()).with_nodes(nodes).with_tensors(tensors.values())


def _needing_gradient(graph: Graph, measured: Measured) -> frozenset[str]:
    """Parameters that learn, outputs of measured layers, and whatever depends on them."""
    needing = {n for n, t in graph.tensors.items() if t.storage is Storage.PARAMETER}
    for node in graph.nodes:
        if node.name in measured.layers:
            needing.update(name for name in node.outputs[:1] if name)
    for node in graph.nodes:
        if needing.intersection(node.inputs):
            needing.update(name for name in node.outputs if name)
    return frozenset(needing)
