"""The update of a parameter from a summed gradient, and Adam's bias corrections.

A weight-gradient kernel hands each element to the parameter's learner. At batch 1, and when a
parameter has one user, the learner applies it at once and no gradient array exists. Else it adds to
a sum, and `Update` (for int8 and int16 parameters `UpdateInt8` and `UpdateInt16`) applies the mean
of the sum when the batch is full. `Learn` hands on a gradient that another node has computed as a
tensor. The rules are those of PyTorch's SGD, SGD with momentum, and Adam.
"""

from __future__ import annotations

from functools import partial

from tinyodl.graph import Graph, Node
from tinyodl.ops.shared import (
    Call,
    Learner,
    Operator,
    Ref,
    Symbol,
    register,
)


def _update_call(format: str, node: Node, graph: Graph) -> Call:
    (parameter,) = node.inputs[:1]
    size = graph.tensor(parameter).size
    return Call(f"learner_apply_{format}", (size, Learner(parameter), Symbol("pending")))


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
for _name, _format, _kernel in (
    ("Update", "f32", "learner_f32.h"),
    ("UpdateInt8", "i8", "learner_i8.h"),
    ("UpdateInt16", "i16", "learner_i8.h"),
):
    register(
        Operator(
            _name,
            macs=lambda n, g: g.tensor(n.inputs[0]).size,
            call=partial(_update_call, _format),
            kernel=_kernel,
        )
    )
register(
    Operator(
        "AdamTick",
        call=_tick_call,
        kernel="optimizer.h",
    )
)
