"""The update of a parameter from a summed gradient, and Adam's bias corrections.

A weight-gradient kernel hands each element to the parameter's learner. At batch 1, and when a
parameter has one user, the learner applies it at once and no gradient array exists. Else it adds to
a sum, and `Update` applies the mean of the sum when the batch is full. `Learn` hands on a gradient
that another node has computed as a tensor.
The rules are those of PyTorch's SGD, SGD with momentum, and Adam.
"""

from __future__ import annotations

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Call,
    Learner,
    Operator,
    Ref,
    Symbol,
    register,
)


def _update_call(node: Node, graph: Graph) -> Call:
    (parameter,) = node.inputs[:1]
    size = graph.tensor(parameter).size
    return Call("learner_apply_f32", (size, Learner(parameter), Symbol("pending")))


def _learn_call(node: Node, graph: Graph) -> Call:
    gradient, parameter = node.inputs[:2]
    size = graph.tensor(parameter).size
    return Call("learner_take_all_f32", (size, Ref(gradient), Learner(parameter)))


def _tick_call(node: Node, graph: Graph) -> Call:
    return Call("adam_tick_f32", (Ref(node.inputs[0]),))


register(
    Operator(
        "Learn",
        macs=lambda n, g: g.tensor(n.inputs[1]).size,
        call=_learn_call,
        kernel="learner_f32.h",
    )
)
register(
    Operator(
        "Update",
        macs=lambda n, g: g.tensor(n.inputs[0]).size,
        call=_update_call,
        kernel="learner_f32.h",
    )
)
register(
    Operator(
        "AdamTick",
        call=_tick_call,
        kernel="learner_f32.h",
    )
)
