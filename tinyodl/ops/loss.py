"""Losses of one sample: softmax and binary cross-entropy on logits, and the mean squared error.

    CrossEntropy              loss = log sum exp z - z[label]       gz = softmax(z) - onehot(label)
    BinaryCrossEntropy        loss = mean (log(1 + e^z) - z t)      gz = (sigmoid(z) - t) / n
    MeanSquaredError          loss = mean (y - t)^2                 gy = 2 (y - t) / n
    OneHotBinaryCrossEntropy
    and OneHotSquaredError    the same with t = onehot(label)
    LabelBinaryCrossEntropy   BinaryCrossEntropy of a single z, with t = label: 0 or 1

With the attribute `in_use` only the outputs with a label take part. They come first; the gradient
of the others is 0.

The same values as PyTorch's cross_entropy, binary_cross_entropy_with_logits and mse_loss on a batch
of one.
"""

from __future__ import annotations

from functools import partial

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Call,
    Operator,
    Ref,
    ShapeTuple,
    Symbol,
    register,
)


def _scalar(node: Node, shapes: tuple[ShapeTuple, ...]) -> ShapeTuple:
    return (1,)


def _of_label(function: str, node: Node, graph: Graph) -> Call:
    z = node.inputs[0]
    size = Symbol("in_use") if node.attrs.get("in_use") else graph.tensor(z).size
    return Call(function, (size, Ref(z), Symbol("label"), Ref(node.outputs[0])))


def _gradient_of_label(function: str, node: Node, graph: Graph) -> Call:
    if not node.attrs.get("in_use"):
        return _of_label(f"{function}_gradient_f32", node, graph)
    z, size = node.inputs[0], graph.tensor(node.inputs[0]).size
    operands = (Ref(z), Symbol("label"), Ref(node.outputs[0]))
    return Call(f"{function}_gradient_in_use_f32", (size, Symbol("in_use"), *operands))


def _of_one(function: str, node: Node, graph: Graph) -> Call:
    return Call(function, (Ref(node.inputs[0]), Symbol("label"), Ref(node.outputs[0])))


def _of_target(function: str, node: Node, graph: Graph) -> Call:
    y, target = node.inputs
    return Call(function, (graph.tensor(y).size, Ref(y), Ref(target), Ref(node.outputs[0])))


for _name, _function, _kernel in (
    ("CrossEntropy", "cross_entropy", "cross_entropy_f32.h"),
    (
        "OneHotBinaryCrossEntropy",
        "one_hot_binary_cross_entropy",
        "binary_cross_entropy_f32.h",
    ),
    ("OneHotSquaredError", "one_hot_squared_error", "mean_squared_error_f32.h"),
):
    _loss, _gradient = (
        partial(_of_label, f"{_function}_f32"),
        partial(_gradient_of_label, _function),
    )
    register(Operator(_name, _loss, _kernel, shape=_scalar))
    register(Operator(f"{_name}Gradient", _gradient, _kernel, in_place=(0,)))
for _name, _function in (
    ("LabelBinaryCrossEntropy", "label_binary_cross_entropy_f32"),
    ("LabelBinaryCrossEntropyGradient", "label_binary_cross_entropy_gradient_f32"),
):
    _call = partial(_of_one, _function)
    _gradient_of = _name.endswith("Gradient")
    register(
        Operator(
            _name,
            _call,
            "binary_cross_entropy_f32.h",
            shape=None if _gradient_of else _scalar,
            in_place=(0,) if _gradient_of else (),
        )
    )
for _name, _function in (
    ("BinaryCrossEntropy", "binary_cross_entropy"),
    ("MeanSquaredError", "mean_squared_error"),
):
    _loss, _gradient = (
        partial(_of_target, f"{_function}_f32"),
        partial(_of_target, f"{_function}_gradient_f32"),
    )
    register(Operator(_name, _loss, f"{_function}_f32.h", shape=_scalar))
    register(Operator(f"{_name}Gradient", _gradient, f"{_function}_f32.h", in_place=(0, 1)))
