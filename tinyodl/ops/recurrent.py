"""RNN, GRU and LSTM: one node for all steps and directions, forward and backward through time.

    RNN   h[t] = f(w x[t] + r h[t-1] + wb + rb)
    GRU   h[t] = (1 - z) n + z h[t-1]
    LSTM  c[t] = f c[t-1] + i g,  h[t] = o tanh(c[t])

Gates are as ONNX orders them: z r n, and i o f g. The kernels' files give every formula.

Inputs: x (steps, batch, inputs), w (directions, gates * hidden, inputs), r (directions, gates *
hidden, hidden), b (directions, 2 * gates * hidden) or absent, the first state (directions, batch,
hidden) or absent for zero, and for LSTM the first cells likewise. Outputs: y (steps, directions,
batch, hidden), the last state, for LSTM the last cells, and for GRU and LSTM the memory for the
gates of one step. Attributes: layout (1: the batch comes first everywhere), reverse (the only
direction is the reverse one), linear_before_reset of GRU, relu of RNN (else tanh).

The gradient computes the gates again from the states, instead of keeping the gates of all steps.
Frozen layers need no memory for gates, and learning layers need it only in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Argument,
    Backward,
    Call,
    Layer,
    Learner,
    OnnxNode,
    Operator,
    Ref,
    Scope,
    ShapeTuple,
    Struct,
    Unsupported,
    imports,
    register,
)

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_KEPT = {"RNN": 1, "GRU": 4, "LSTM": 4}  # values for each hidden unit in a row of deltas
_ACTIVATIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_COVERS = "direction, layout, hidden_size; the first states may be computed"
_LIMITS = "clip, other activations than the default, sequences of different lengths"


@imports("RNN", becomes=("RNN",), covers=f"{_COVERS}; activations Tanh and Relu", limits=_LIMITS)
def rnn(node: OnnxNode, scope: Scope) -> None:
    """RNN with tanh, or relu in all directions."""
    relu = _activations(node) == "relu"
    _import(node, scope, {"relu": int(relu)}, states=1)


@imports("GRU", becomes=("GRU",), covers=f"{_COVERS}; linear_before_reset", limits=_LIMITS)
def gru(node: OnnxNode, scope: Scope) -> None:
    """GRU, its reset gate before or after the product."""
    _activations(node)
    after = node.integer("linear_before_reset", 0)
    _import(node, scope, {"linear_before_reset": int(after != 0)}, states=1)


@imports("LSTM", becomes=("LSTM",), covers=_COVERS, limits=f"{_LIMITS}, peepholes, input_forget")
def lstm(node: OnnxNode, scope: Scope) -> None:
    """LSTM without peepholes."""
    _activations(node)
    if node.integer("input_forget", 0):
        raise Unsupported("input_forget is 1", "0")
    peepholes = scope.optional(node, 7)
    if peepholes is not None and peepholes.any():
        raise Unsupported("it has peepholes", "an LSTM without them, or with zeros")
    _import(node, scope, {}, states=2)


def _import(node: OnnxNode, scope: Scope, attrs: dict[str, int], states: int) -> None:
    x = scope.activation(node, 0)
    layout = node.integer("layout", 0)
    if len(x.shape) != 3 or layout not in (0, 1):
        raise Unsupported(f"its input has the shape {x.shape}, layout {layout}", "3 dimensions")
    steps, batch = x.shape[:2] if layout == 0 else x.shape[1::-1]
    direction = node.attrs.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise Unsupported(f"direction is {direction}", "forward, reverse or bidirectional")
    directions = 2 if direction == "bidirectional" else 1
    hidden = node.integer("hidden_size", scope.floats(node, 2).shape[-1])
    rows = _GATES[node.op] * hidden
    w = _parameter(node, scope, 1, (directions, rows, x.shape[2]))
    r = _parameter(node, scope, 2, (directions, rows, hidden))
    b = _parameter(node, scope, 3, (directions, 2 * rows)) if node.input(3) else ""
    lengths = scope.optional(node, 4)
    if lengths is not None and (lengths.shape != (batch,) or (lengths != steps).any()):
        raise Unsupported(f"sequence_lens are {lengths.tolist()}", f"{steps}, the whole sequence")
    state = (directions, batch, hidden) if layout == 0 else (batch, directions, hidden)
    firsts = tuple(_first(node, scope, 5 + index, state) for index in range(states))
    outputs = [*node.outputs, *("",) * (1 + states - len(node.outputs))]
    if _KEPT[node.op] > 1:
        outputs.append("")
    attributes = {"layout": layout, "reverse": int(direction == "reverse"), **attrs}
    scope.emit_several(node.op, node.name, (x.name, w, r, b, *firsts), outputs, attributes)


def _activations(node: OnnxNode) -> str:
    """The activation that all directions share, "default" unless it is relu."""
    default = tuple(name.lower() for name in _ACTIVATIONS[node.op])
    given = node.attrs.get("activations", ())
    names = tuple(a.decode().lower() if isinstance(a, bytes) else str(a).lower() for a in given)
    if node.attrs.get("activation_alpha") or node.attrs.get("activation_beta"):
        raise Unsupported("activation_alpha or activation_beta is set", "none of them")
    if "clip" in node.attrs:
        raise Unsupported(f"clip is {node.attrs['clip']}", "no clip")
    if names in ((), default, default * 2):
        return "default"
    if node.op == "RNN" and set(names) == {"relu"}:
        return "relu"
    raise Unsupported(f"activations are {', '.join(names)}", ", ".join(_ACTIVATIONS[node.op]))


def _parameter(node: OnnxNode, scope: Scope, slot: int, shape: ShapeTuple) -> str:
    value = scope.floats(node, slot)
    if value.shape != shape:
        raise Unsupported(f"'{node.input(slot)}' has the shape {value.shape}", f"{shape}")
    return scope.parameter(node, slot, value)


def _first(node: OnnxNode, scope: Scope, slot: int, shape: ShapeTuple) -> str:
    """A first state: "" where it is zero."""
    name = node.input(slot)
    if not name:
        return ""
    if name in scope.constants and scope.constants[name].shape[-1:] != shape[-1:]:
        raise Unsupported(
            f"'{name}' has the shape {scope.constants[name].shape} and hidden_size is {shape[-1]}, "
            "as PyTorch writes nn.LSTM(proj_size=...), which ONNX cannot express",
            f"{shape}",
        )
    if name in scope.constants and not np.any(scope.constants[name]):
        return ""
    tensor = scope.operand(node, slot)
    if tensor.shape != shape:
        raise Unsupported(f"'{name}' has the shape {tensor.shape}", f"{shape}")
    return tensor.name


def _shapes(node: Node, shapes: tuple[ShapeTuple, ...]) -> tuple[ShapeTuple, ...]:
    x, (directions, _, hidden) = shapes[0], shapes[2]
    if node.attrs["layout"]:
        y, state = (*x[:2], directions, hidden), (x[0], directions, hidden)
    else:
        y, state = (x[0], directions, x[1], hidden), (directions, x[1], hidden)
    if node.op == "RNN":
        return y, state
    gates = (_KEPT[node.op] * hidden,)
    return (y, state, state, gates) if node.op == "LSTM" else (y, state, gates)


def _geometry(node: Node, graph: Graph) -> Struct:
    x, (directions, rows, hidden) = graph.shape(node.inputs[0]), graph.shape(node.inputs[2])
    layout = node.attrs["layout"]
    steps, batch = x[:2] if layout == 0 else x[1::-1]
    strides = {
        "x_step": batch * x[2],
        "x_batch": x[2],
        "y_step": directions * batch * hidden,
        "y_direction": batch * hidden,
        "y_batch": hidden,
        "state_direction": batch * hidden,
        "state_batch": hidden,
    }
    if layout:
        strides = {
            "x_step": x[2],
            "x_batch": steps * x[2],
            "y_step": directions * hidden,
            "y_direction": hidden,
            "y_batch": steps * directions * hidden,
            "state_direction": hidden,
            "state_batch": directions * hidden,
        }
    sizes = {
        "steps": steps,
        "batch": batch,
        "inputs": x[2],
        "hidden": hidden,
        "gates": rows // hidden,
        "directions": directions,
        "reverse": node.attrs["reverse"],
    }
    return Struct("recurrent_shape", (*sizes.items(), *strides.items()))


def _size(node: Node, graph: Graph) -> tuple[int, int, int]:
    """Evaluations of each weight, and how many weights w and r have."""
    x, w, r = (graph.shape(name) for name in node.inputs[:3])
    return x[0] * x[1], w[0] * w[1] * w[2], r[0] * r[1] * r[2]


def _macs(node: Node, graph: Graph) -> int:
    times, w, r = _size(node, graph)
    return times * (w + r)


def _variant(node: Node) -> tuple[int, ...]:
    """The attribute that only one of the operators has, as an argument of its kernels."""
    return tuple(node.attrs[name] for name in ("relu", "linear_before_reset") if name in node.attrs)


def _call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    geometry = _geometry(node, graph)
    return Call(f"{node.op.lower()}_f32", (geometry, *_variant(node), *operands))


def _gradient(backward: Backward, node: Node, *gradients: str | None) -> None:
    graph = backward.graph
    x, w, r, b, *firsts = node.inputs
    y, state = node.outputs[0], graph.shape(node.outputs[1])
    geometry = _geometry(node, graph)
    sizes = dict(geometry.fields)
    hidden, width = sizes["hidden"], _KEPT[node.op] * sizes["hidden"]
    assert isinstance(hidden, int)
    assert isinstance(width, int)
    over = graph.shape(r)[:1] + tuple(_batch_and_steps(node, graph))
    times, of_w, of_r = _size(node, graph)
    again = times * (of_w + of_r) if width > hidden else 0
    attrs = {"geometry": geometry, "variant": _variant(node), "width": width}
    incoming = tuple(gradient or "" for gradient in gradients[: 1 + len(firsts)])
    reads = (r, y) if node.op == "RNN" else (x, w, r, b, *firsts, y)
    made: tuple[ShapeTuple, ...] = ((*over, width), *(state for _ in firsts))
    if node.op == "LSTM":
        made = (*made, (*over, hidden))
    deltas, *carries = backward.emit_several(
        f"{node.op}Gradient",
        node,
        (*incoming, *reads),
        made,
        {**attrs, "macs": again + times * of_r},
    )
    for first, carry in zip(firsts, carries, strict=False):
        if backward.wants(first):
            backward.add(first, carry)
    after = node.attrs.get("linear_before_reset", 0)
    by_w, by_r = {**attrs, "macs": times * of_w}, {**attrs, "macs": times * of_r, "after": after}
    if backward.wants(x):
        backward.add(x, backward.emit("RecurrentInputGradient", node, (deltas, w), x, by_w))
    if backward.wants(w):
        backward.learn("RecurrentWeightGradient", node, w, (deltas, x), by_w)
    if backward.wants(r):
        backward.learn("RecurrentStateGradient", node, r, (deltas, y, firsts[0]), by_r)
    if backward.wants(b):
        backward.learn("RecurrentBiasGradient", node, b, (deltas,), {**by_r, "macs": 0})


def _batch_and_steps(node: Node, graph: Graph) -> tuple[int, int]:
    """(batch, steps) of a recurrent node, whatever its layout."""
    first, second, _ = graph.shape(node.inputs[0])
    return (first, second) if node.attrs["layout"] else (second, first)


def _gradient_call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    function = f"{node.op.removesuffix('Gradient').lower()}_gradient_f32"
    return Call(function, (node.attrs["geometry"], *node.attrs["variant"], *operands))


def _input_gradient_call(node: Node, graph: Graph) -> Call:
    operands = (Ref(name) for name in (*node.inputs, *node.outputs))
    arguments = (node.attrs["geometry"], node.attrs["width"], *operands)
    return Call("recurrent_input_gradient_f32", arguments)


def _learning_call(function: str, reads: int) -> Callable[[Node, Graph], Call]:
    def call(node: Node, graph: Graph) -> Call:
        parameter = node.inputs[reads]
        variant = (node.attrs["after"],) if "after" in node.attrs else ()
        operands: tuple[Argument, ...] = tuple(Ref(name) for name in node.inputs[:reads])
        geometry, width = node.attrs["geometry"], node.attrs["width"]
        return Call(function, (geometry, width, *variant, *operands, Learner(parameter)))

    return call


def _given_macs(node: Node, graph: Graph) -> int:
    macs: int = node.attrs["macs"]
    return macs


for _op in _GATES:
    _kernel = f"{_op.lower()}_f32.h"
    _layer = Layer(weights=(1, 2), biases=(3,))
    register(Operator(_op, _call, _kernel, _shapes, _macs, _gradient, layer=_layer))
    register(Operator(f"{_op}Gradient", _gradient_call, _kernel, macs=_given_macs))
for _name, _function, _reads in (
    ("RecurrentWeightGradient", "recurrent_weight_gradient_f32", 2),
    ("RecurrentStateGradient", "recurrent_state_gradient_f32", 3),
    ("RecurrentBiasGradient", "recurrent_bias_gradient_f32", 1),
):
    register(
        Operator(
            _name,
            _learning_call(_function, _reads),
            "recurrent_gradient_f32.h",
            macs=_given_macs,
        )
    )
register(
    Operator(
        "RecurrentInputGradient",
        _input_gradient_call,
        "recurrent_input_gradient_f32.h",
        macs=_given_macs,
    )
)
