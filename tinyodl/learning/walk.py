"""The walk from the loss backwards: reverse-mode automatic differentiation at compile time.

It asks each operator for its gradient rule. It makes only gradients that are needed, and adds
gradients that meet. Each parameter's gradient node follows the input gradient of the same layer,
because a fused update changes the weight, and the input gradient must read the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tinyodl.errors import ModelError
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.importance import NOTHING, Measured, measured_inputs, measured_outputs
from tinyodl.learning.tensors import (
    ADAM_CORRECTION,
    FRACTION,
    LOSS,
    PENDING,
    STATES,
    SUM,
    UPDATES,
    state_name,
)
from tinyodl.ops import OPERATORS
from tinyodl.ops.shared import ShapeTuple
from tinyodl.ops.shared.candidate import POOL
from tinyodl.project.plan import UpdatePlan

_FRACTIONS = {"int16": "int8", "float32": "float32"}  # the number format of it by `plan.master`


@dataclass
class Walk:
    """The state of one walk from the loss backwards; implements `tinyodl.ops.Backward`."""

    graph: Graph
    plan: UpdatePlan
    needing: frozenset[str]
    measured: Measured = NOTHING
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
        shared = self._uses(parameter) > 1 and parameter != POOL  # of which each has its own part
        summed = self.plan.summed or in_parts or shared
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
        """Visit the forward nodes in reverse order, without the loss and nodes that only count."""
        end = next(i for i, node in enumerate(self.graph.nodes) if node.outputs == (LOSS,))
        for node in reversed(self.graph.nodes[:end]):
            needed = bool(self.needing.intersection(node.inputs))
            if not needed and node.name not in self.measured.layers:
                continue
            gradients = tuple(self._sum(name) for name in node.outputs)
            if not any(gradients):
                continue
            if node.name in self.measured.layers and gradients[0]:
                self._measure(*measured_outputs(self, node, gradients[0], self.measured))
            if not needed:
                continue
            rule = OPERATORS[node.op].gradient
            if rule is None:
                raise ModelError(
                    f"node {node.name!r}: {node.op} has no gradient, and a layer before it learns; "
                    "freeze the layers before it"
                )
            rule(self, node, *gradients)
            given = self.contributions.get(node.inputs[0])
            if node.name in self.measured.layers and self.measured.inputs and given:
                self._measure(*measured_inputs(self, node, given[-1]))
            for name in dict.fromkeys(node.inputs):
                if name and self.graph.consumers[name][0] is node:
                    self._learn_from_sum(name)
        for name in list(self.contributions):
            self._learn_from_sum(name)

    def _measure(self, node: Node, states: list[Tensor]) -> None:
        self.tensors.update((tensor.name, tensor) for tensor in states)
        self.nodes.append(replace(node, phase=Phase.BACKWARD))

    def result(self) -> Graph:
        """The forward nodes, then the nodes of the walk and the updates of summed gradients.

        Constants that no gradient uses are left out.
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
        """Hand a parameter's sum of gradients on, once no further node can add to it."""
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
        """The states kept for a parameter: the rest of an int8 weight, the optimiser's moments."""
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
