"""A bound on each step of gradient descent, on by default; docs/bound.md has the figures.

A step of SGD on a dense layer changes its outputs for the same sample by rate * (1 + |x|^2) times
the gradient of the loss. This factor is the reach of the step. Gradient descent on a loss of
curvature c diverges when the reach exceeds 2 / c: 4 for softmax cross-entropy, n for the mean
squared error of n outputs. A sample far out has a huge |x|^2, and too high a rate makes every reach
too large: one rule bounds both. The reach of several layers is the sum of their reaches. In each,
|x|^2 is the mean square of the layer's input times the number of inputs of one output, as if the
layers behind it kept lengths.

A step that reaches too far is shortened: the gradient of the loss is multiplied by one factor. The
gradients of all layers are linear in it, so they shrink alike. Any other step keeps its bits.

    cross-entropies    rate * reach above 4 limits, or above one and moving the outputs by more
                       than 8: becomes one limit
    squared errors     above one limit: becomes half of one, where a sample is learned exactly

Squared errors have no largest gradient. Adam's step does not depend on the gradient's scale, but
one spike in its moments moves every weight and then stops the learning for thousands of samples. In
these two cases the gradient is held to a multiple of those seen so far. (With Adam the first rule
has no meaning.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tinyodl.graph import Graph, Node, Phase, Storage, Tensor
from tinyodl.learning.learners import rule_of
from tinyodl.ops import OPERATORS
from tinyodl.ops.shared import Symbol
from tinyodl.ops.shared.candidate import INPUTS, POOL, number_of
from tinyodl.project.plan import UpdatePlan

REACH, SEEN = "<bound.reach>", "<bound.seen>"

CROSS_ENTROPY_LIMIT = 4.0  # 2 / (1/2), the largest curvature of softmax cross-entropy
SIGMOID_LIMIT = 8.0  # 2 / (1/4), for each output in the mean
MOVED = 8.0  # logits: nearly 3,000 times the odds
SEEN_INPUTS = 16.0  # of the mean square of what was seen: 4 times its length
SEEN_GRADIENTS = 100.0  # 10 times its length

# The limit of a squared error behind these outputs is larger by this factor: their slopes are at
# most 1/4 and 1/2, and count squared.
_FLATTER = {"Sigmoid": 16.0, "Softmax": 4.0}
_NEVER = 3.4e38  # above any square of a float32

# Nodes with the gradient of a parameter that the layer multiplies with its input.
_MULTIPLIES = {
    "ConvChannelsWeightGradient",
    "ConvWeightGradient",
    "GemmChannelsWeightGradient",
    "GemmWeightGradient",
    "Learn",
    "MatMulLearn",
    "QLinearConvWeightGradient",
    "RecurrentStateGradient",
    "RecurrentWeightGradient",
}
_SHIFTS = {"Add", "Sub"}
_VALUES = ("float32", "int8")
_RECURRENT = {"GRU", "LSTM", "RNN"}


def bounded(graph: Graph, plan: UpdatePlan, loss: str) -> Graph:
    """A training graph whose steps are bounded as the plan says; `loss` is the loss's tensor.

    The same graph where nothing learns by gradients.
    """
    if plan.bound == "off" or rule_of(plan).replaces:
        return graph
    measured = graph.producer[loss]
    reads = (f"{measured.op}Gradient", measured.inputs)
    gradients = [node for node in graph.nodes if (node.op, node.inputs) == reads]
    if not gradients:
        return graph
    [gradient] = gradients
    [gy] = gradient.outputs
    at = graph.nodes.index(gradient) + 1
    nodes, tensors = _reach(graph, at - 1)
    last = gy
    for op, kept, attrs in _rules(plan, measured, graph.tensor(measured.inputs[0]).size, graph):
        made = f"<{op}>"
        nodes.append(_node(op, (last, REACH, *kept), made, **attrs))
        tensors.append(Tensor(made, graph.shape(gy)))
        tensors += [Tensor(name, (2,), Storage.STATE) for name in kept]
        last = made
    behind = [_reading(node, gy, last) for node in graph.nodes[at:]]
    return replace(graph.with_tensors(tensors), nodes=(*graph.nodes[:at], *nodes, *behind))


def _rules(
    plan: UpdatePlan, loss: Node, outputs: int, graph: Graph
) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """The operators that bound a step, the states each keeps between steps, and its attributes."""
    if plan.bound == "normalised":
        yield "StepNormalised", (), {}
        return
    squared = loss.op.endswith("SquaredError")
    if plan.optimizer != "adam":
        counted = Symbol("in_use") if loss.attrs.get("in_use") else outputs
        if squared:
            producer = graph.producer.get(loss.inputs[0])
            limit = _FLATTER.get(producer.op if producer else "", 1.0)
            limits = {"outputs": counted, "most": limit, "far": _NEVER, "to": limit / 2}
        elif loss.op == "CrossEntropy":
            limits = {"outputs": 1, **_logits(CROSS_ENTROPY_LIMIT)}
        else:
            limits = {"outputs": counted, **_logits(SIGMOID_LIMIT)}
        yield "StepBound", (), limits
    if squared or plan.optimizer == "adam":
        times = SEEN_GRADIENTS if squared else SEEN_INPUTS
        yield "StepSeen", (SEEN,), {"times": times, "by_gradient": squared}


def _logits(limit: float) -> dict[str, float]:
    return {"most": 4 * limit, "far": MOVED**2, "to": limit}


def _reach(graph: Graph, at: int) -> tuple[list[Node], list[Tensor]]:
    """The nodes that sum up the reach of the learning layers; backward begins with node `at`."""
    ahead = set(graph.inputs).union(*(node.outputs for node in graph.nodes[:at]))
    layers: dict[str, None] = {}
    reads: dict[tuple[str, float, int], None] = {}
    candidates = [node for node in graph.nodes[at:] if POOL in node.inputs and not node.outputs]
    candidates = [node for node in candidates if number_of(node) is not None]
    for node in graph.nodes[at:]:
        if number_of(node) is not None:
            continue
        for parameter in node.inputs:
            if parameter and graph.tensor(parameter).storage is Storage.PARAMETER:
                layer = graph.consumers[parameter][0]
                layers[layer.name] = None
                x = _read_by(node, layer, ahead, graph)
                if x:
                    reads[x, *_ratio(x, parameter, layer, graph)] = None
    nodes: list[Node] = []
    ones: float | Symbol = Symbol("layers_learning") if candidates else float(len(layers))
    before, count = "", len(reads or [""]) + len(candidates)
    for x, ratio, zero_point in reads or {("", 0.0, 0): None}:
        attrs = {"ratio": ratio, "ones": ones, "zero_point": zero_point}
        made = REACH if len(nodes) + 1 >= count else f"{REACH[:-1]}.{len(nodes)}>"
        nodes.append(_node("StepReach", (x, before), made, **attrs))
        ones, before = 0.0, made
    for node in candidates:
        attrs = {key: node.attrs[key] for key in ("candidate", "zero_point")}
        made = REACH if len(nodes) + 1 >= count else f"{REACH[:-1]}.{len(nodes)}>"
        nodes.append(_node("StepReach", (INPUTS, before), made, **attrs))
        before = made
    return nodes, [Tensor(node.outputs[0], (1,)) for node in nodes]


def _read_by(node: Node, layer: Node, ahead: set[str], graph: Graph) -> str:
    """The input a layer's weights are multiplied with, if `node` has their gradient; else "".

    A Learn node gets its gradient from another node: the layer's input is an input of that node.
    """
    if node.op not in _MULTIPLIES:
        return ""
    if node.op == "Learn":
        maker = graph.producer[node.inputs[0]]
        found = [x for x in layer.inputs if x in maker.inputs and layer.op not in _SHIFTS]
    else:
        found = [x for x in node.inputs if x]
    return next((x for x in found if x in ahead and graph.tensor(x).dtype in _VALUES), "")


def _ratio(x: str, parameter: str, layer: Node, graph: Graph) -> tuple[float, int]:
    """By what |x|^2 is multiplied, and the zero point of integers: inputs of one output / size."""
    tensor = graph.tensor(x)
    macs = OPERATORS[layer.op].macs(layer, graph)
    inputs = max(1.0, macs / graph.tensor(layer.outputs[0]).size)
    if layer.op in _RECURRENT:
        inputs = float(graph.shape(parameter)[-1])
    ratio, zero_point = inputs / tensor.size, 0
    if tensor.dtype == "int8":
        quantization = graph.tensor(layer.inputs[0]).quantization
        assert quantization is not None
        ratio *= sum(scale**2 for scale in quantization.scale) / len(quantization.scale)
        zero_point = quantization.zero_point
    return ratio, zero_point


def _node(op: str, inputs: tuple[str, ...], made: str, **attrs: Any) -> Node:
    return Node(op, made.strip("<>"), inputs, (made,), attrs, Phase.BACKWARD)


def _reading(node: Node, old: str, new: str) -> Node:
    """The node with `new` in the place of `old`."""
    return replace(node, inputs=tuple(new if name == old else name for name in node.inputs))
