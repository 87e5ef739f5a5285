"""Graph + UpdatePlan -> training Graph: forward, loss, backward and update nodes in one list.

Reverse-mode automatic differentiation at compile time. A walk from the loss to the first layer that
learns asks each operator for its gradient rule; gradients that nobody needs are never made, and
gradients that meet are added. Each parameter's gradient node follows the input gradient of the same
layer, because a fused update changes the weight that the input gradient reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyodl.error_statistics import with_error_statistics
from tinyodl.errors import ModelError, UserError
from tinyodl.graph import Array, Graph, Node, Phase, Storage, Tensor
from tinyodl.kept import LABELS
from tinyodl.learning.learners import rule_of
from tinyodl.learning.learners.learner import Begun
from tinyodl.logits import sigmoid_logits, softmax_logits
from tinyodl.ops import OPERATORS, biases_of, layers_of, weights_of
from tinyodl.ops.shared import ShapeTuple
from tinyodl.ops.standardize import standardized, with_updates
from tinyodl.project.plan import LayerUpdate, UpdatePlan

# Tensors that training adds. No name of the model begins with RESERVED, so none can be hidden.
RESERVED = "<"
TARGET = "<target>"
LOSS = "<loss>"
PENDING = "<pending>"
ADAM_CORRECTION = "<bias correction>"

# What each optimiser keeps beside a parameter, as suffixes of the state tensors' names.
STATES = {"sgd": (), "momentum": ("velocity",), "adam": ("m", "v")}
SUM = "sum"
FRACTION = "fraction"  # of an int8 weight, between two integers
_FRACTIONS = {"int16": "int8", "float32": "float32"}  # the number format of it by `plan.master`
# The node that applies a summed gradient, by the number format of the parameter.
UPDATES = {"float32": "Update", "int8": "UpdateInt8", "int16": "UpdateInt16"}


def state_name(parameter: str, state: str) -> str:
    """The tensor that holds `state` ("velocity", "m", "v", "sum", "fraction") of a parameter."""
    return f"<{parameter}.{state}>"


def sample_inputs(graph: Graph) -> tuple[str, ...]:
    """The inputs of the model itself: they are uploaded together, side by side in this order."""
    return tuple(name for name in graph.inputs if name != TARGET)


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
) -> Graph:
    """The training graph of `graph` under `plan`.

    `begun` is what the plan's rule keeps after samples that came before; `errors` are those of
    reconstructions that the device shall have seen.
    Raises UserError when the plan names a layer that does not exist or cannot learn, ModelError
    when an operator between the loss and a learning layer has no gradient.
    """
    for name in graph.tensors:
        if name.startswith(RESERVED):
            raise ModelError(f"tensor {name!r}: names that begin with {RESERVED!r} are reserved")
    graph = with_updates(_mark_parameters(graph, plan), plan.forgetting, plan.seen)
    _check_decay(graph, plan)
    rule = rule_of(plan)
    predicted = _looked_at(graph, plan)
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
        target = (_sample_to_reconstruct(graph),)
    if plan.labels is not None:
        graph = graph.with_tensors([_labels(plan.labels, graph.tensor(predicted).size)])
        attrs = {} if rule.whole_loss else {"in_use": True}
    loss = Node(kind, "loss", (predicted, *target), (LOSS,), attrs, Phase.BACKWARD)
    graph = graph.with_tensors([Tensor(LOSS, (1,))])
    graph = replace(graph, nodes=(*graph.nodes, loss), outputs=(*graph.outputs, LOSS))
    if plan.reconstructs:
        graph = with_error_statistics(graph, plan, LOSS, errors)
    if not any(t.storage is Storage.PARAMETER for t in graph.tensors.values()):
        return graph
    if rule.replaces:
        return rule.replaces(graph, plan, loss, begun or {})

    needing = _needing_gradient(graph)
    graph = _saving(graph, plan, needing)
    walk = _Walk(graph, plan, needing)
    if plan.optimizer == "adam" and not plan.summed:
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


def _looked_at(graph: Graph, plan: UpdatePlan) -> str:
    """The tensor that the loss is of. Raises UserError where a Sigmoid is wanted and none there."""
    if plan.loss == "cross-entropy":
        return softmax_logits(graph)
    if plan.loss in ("binary-cross-entropy", "reconstruction-cross-entropy"):
        return sigmoid_logits(graph, plan.loss)
    return graph.outputs[0]


def _sample_to_reconstruct(graph: Graph) -> str:
    """The input, which is the target too. Raises UserError where it cannot be."""
    names, output = sample_inputs(graph), graph.tensor(graph.outputs[0])
    given = graph.tensor(names[0])
    if len(names) > 1 or given.size != output.size or given.dtype != "float32":
        shapes = ", ".join(f"{graph.shape(name)} {graph.tensor(name).dtype}" for name in names)
        raise UserError(
            "loss reconstruction compares the output with the input, one float32 tensor of as many "
            f"values; the output is {output.shape}, the input {shapes}"
        )
    return names[0]


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
    """With what learns as parameters; a constant that layers share learns if any of them does."""
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
        learns = OPERATORS[node.op].learns or _whole_tensors
        if update == "statistics":
            changed[name], made = standardized(node, graph)
        else:
            changed[name], made = learns(node, graph, update)
        tensors.update((tensor.name, tensor) for tensor in made)
    return _with_changed(graph, changed, tensors)


def _whole_tensors(node: Node, graph: Graph, update: LayerUpdate) -> tuple[Node, list[Tensor]]:
    """A float32 layer as it learns: its constants become parameters."""
    if not isinstance(update, str):
        raise UserError(
            f"the plan lets some channels of layer {node.name!r} learn, which is float32; channels "
            "can be chosen of int8 convolutions and dense layers: plan 'weights' or 'bias'"
        )
    biases = biases_of(node, graph)
    names = biases if update == "bias" else (*weights_of(node, graph), *biases)
    return node, [replace(graph.tensor(name), storage=Storage.PARAMETER) for name in names]


def _saving(graph: Graph, plan: UpdatePlan, needing: frozenset[str]) -> Graph:
    """With what the forward nodes that a gradient passes through have to keep for it."""
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
    """With nodes and tensors replaced or added; tensors that nothing names any more are gone."""
    nodes = [changed.get(node.name, node) for node in graph.nodes]
    return graph.with_tensors(tensors.values()).with_nodes(nodes).with_tensors(tensors.values())


def _needing_gradient(graph: Graph) -> frozenset[str]:
    """Parameters that learn, and whatever depends on them."""
    needing = {n for n, t in graph.tensors.items() if t.storage is Storage.PARAMETER}
    for node in graph.nodes:
        if needing.intersection(node.inputs):
            needing.update(name for name in node.outputs if name)
    return frozenset(needing)


@dataclass
class _Walk:
    """The state of one walk from the loss backwards; implements `tinyodl.ops.Backward`."""

    graph: Graph
    plan: UpdatePlan
    needing: frozenset[str]
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    contributions: dict[str, list[str]] = field(default_factory=dict)

    def wants(self, tensor: str) -> bool:
        return tensor in self.needing

    def emit(
        self,
        op: str,
        node: Node,
        inputs: tuple[str, ...],
        like: str | ShapeTuple,
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        return self.emit_several(op, node, inputs, (like,), attrs)[0]

    def emit_several(
        self,
        op: str,
        node: Node,
        inputs: tuple[str, ...],
        likes: tuple[str | ShapeTuple, ...],
        attrs: Mapping[str, Any] | None = None,
    ) -> tuple[str, ...]:
        outputs = tuple(self._gradient(like, f"{node.name}.{op}") for like in likes)
        given = node.attrs if attrs is None else attrs
        self.nodes.append(Node(op, f"{node.name}.{op}", inputs, outputs, given, Phase.BACKWARD))
        return outputs

    def add(self, tensor: str, gradient: str) -> None:
        self.contributions.setdefault(tensor, []).append(gradient)

    def learn(
        self,
        op: str,
        node: Node,
        parameter: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        *,
        in_parts: bool = False,
    ) -> None:
        states = [self._state(parameter, suffix) for suffix in self._suffixes(parameter)]
        summed = self.plan.summed or in_parts or self._uses(parameter) > 1
        if summed:
            states.append(self._state(parameter, SUM))
        phase = Phase.BACKWARD if summed else Phase.UPDATE
        operands = (*inputs, parameter, *states)
        given = node.attrs if attrs is None else attrs
        self.nodes.append(Node(op, f"{node.name}.{op}", operands, (), given, phase))

    def tick(self) -> None:
        """Adam's bias corrections, once before the first update of a step."""
        self.tensors[ADAM_CORRECTION] = Tensor(ADAM_CORRECTION, (2,), Storage.STATE)
        self.nodes.append(Node("AdamTick", "adam", (ADAM_CORRECTION,), (), phase=Phase.UPDATE))

    def backward(self) -> None:
        """Visit the forward nodes in reverse order, the loss and what is counted left out."""
        end = next(i for i, node in enumerate(self.graph.nodes) if node.outputs == (LOSS,))
        for node in reversed(self.graph.nodes[:end]):
            if not self.needing.intersection(node.inputs):
                continue
            gradients = tuple(self._sum(name) for name in node.outputs)
            if not any(gradients):
                continue
            rule = OPERATORS[node.op].gradient
            if rule is None:
                raise ModelError(
                    f"node {node.name!r}: {node.op} has no gradient, and a layer before it learns; "
                    "freeze the layers before it"
                )
            rule(self, node, *gradients)
            for name in dict.fromkeys(node.inputs):
                if name and self.graph.consumers[name][0] is node:
                    self._learn_from_sum(name)
        for name in list(self.contributions):
            self._learn_from_sum(name)

    def result(self) -> Graph:
        """The forward nodes, then what the walk made and updates of summed gradients.

        Constants that no gradient asked for are left out.
        """
        held = [n for n, t in self.graph.tensors.items() if t.storage is Storage.PARAMETER]
        summed = [name for name in held if state_name(name, SUM) in self.tensors]
        if self.plan.summed:
            if not any(section.DRAWS_BATCHES for section in self.plan.beside.values()):
                self.tensors[PENDING] = Tensor(PENDING, (1,), Storage.STATE, "int32")
            if self.plan.optimizer == "adam":
                self.tick()
        for parameter in summed:
            suffixes = (*self._suffixes(parameter), SUM)
            states = tuple(state_name(parameter, suffix) for suffix in suffixes)
            op = UPDATES[self.graph.tensor(parameter).dtype]
            self.nodes.append(
                Node(op, f"{parameter}.Update", (parameter, *states), (), phase=Phase.UPDATE)
            )
        graph = self.graph.with_tensors(self.tensors.values())
        graph = replace(graph, nodes=(*graph.nodes, *self.nodes))
        unread = {
            name
            for name, readers in graph.consumers.items()
            if not readers and graph.tensor(name).storage is Storage.FLASH
        }
        return replace(graph, tensors={n: t for n, t in graph.tensors.items() if n not in unread})

    def _sum(self, tensor: str) -> str | None:
        """The gradient of `tensor`: its contributions added in the order they came."""
        gradients = self.contributions.get(tensor, [])
        if not gradients:
            return None
        total = gradients[0]
        for gradient in gradients[1:]:
            fan_out = Node("Add", f"{tensor}.fan_out", (), ())
            total = self.emit("Add", fan_out, (total, gradient), like=tensor)
        return total

    def _learn_from_sum(self, name: str) -> None:
        """Hand on what was added for a parameter, once no node is left that could add to it."""
        if self.graph.tensor(name).storage is Storage.PARAMETER:
            total = self._sum(name)
            self.contributions.pop(name, None)
            if total is not None:
                self.learn("Learn", self.graph.consumers[name][0], name, (total,), {})

    def _uses(self, parameter: str) -> int:
        """How often the forward nodes read a parameter."""
        return sum(node.inputs.count(parameter) for node in self.graph.consumers[parameter])

    def _gradient(self, like: str | ShapeTuple, name: str) -> str:
        """A new tensor for the gradient of a tensor, or of the given shape."""
        if isinstance(like, str):
            name, shape = f"{like}.gradient", self.graph.shape(like)
        else:
            shape = like
        fresh = self._fresh(name)
        self.tensors[fresh] = Tensor(fresh, shape)
        return fresh

    def _suffixes(self, parameter: str) -> tuple[str, ...]:
        """What is kept beside a parameter: the rest of an int8 weight, the optimiser's moments."""
        int8 = self.graph.tensor(parameter).dtype == "int8"
        fraction = (FRACTION,) if int8 and self.plan.master != "none" else ()
        return (*fraction, *STATES[self.plan.optimizer])

    def _state(self, parameter: str, suffix: str) -> str:
        name = state_name(parameter, suffix)
        dtype = _FRACTIONS[self.plan.master] if suffix == FRACTION else "float32"
        self.tensors[name] = Tensor(name, self.graph.shape(parameter), Storage.STATE, dtype)
        return name

    def _fresh(self, name: str) -> str:
        taken = {**self.graph.tensors, **self.tensors}
        unique, count = name, 2
        while unique in taken:
            unique, count = f"{name}.{count}", count + 1
        return unique
