"""How int8 nodes learn, and what they save for a gradient that passes through them.

A gradient is with respect to real values. The learner gets it in steps of the integers:

    weight   s_x * sum of gy * (x - z_x), times 1 / s_w with quantisation-aware scaling, else s_w
    bias     sum of gy, times 1 / s_y with it, else s_x * s_w * (s_x * s_w / s_y)

With scaling a step changes the real weights as it would in float32 (Lin et al. 2022: the gradient
with respect to q is s_w times that of the real weight, and is divided by s_w^2). A channel whose
scale is far below the others' is dead; its scale counts as a share of the layer's median, so that
one small gradient does not throw its weights from one end of the range to the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Quantization, Storage, Tensor
from tinyodl.ops.shared.int8_columns import scratch_size
from tinyodl.ops.shared.operator import (
    Rewrite,
)
from tinyodl.ops.shared.quantization import with_mask
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.project.plan import UpdatePlan

DEAD = 1 / 64  # of the median scale of a layer's channels


def convolution_learns(node: Node, graph: Graph, update: LayerUpdate) -> Rewrite:
    """A QLinearConv whose weights, or those of some channels, and bias are parameters.

    The learning channels come first: w holds their weights, `rest` the weights that stay in flash,
    and `order` the channel at each position. The bias itself stays in flash, beside its change
    `delta`. Raises UserError for channels that the layer does not have. A candidate keeps all of w
    in flash: `tinyodl.learning.candidates`.
    """
    tensors = []
    x, w, b, *_ = node.inputs
    delta = rest = order = ""
    if b:
        bias = graph.tensor(b)
        start = np.zeros(bias.shape, np.int16)
        delta = f"<{b}.delta>"
        tensors.append(Tensor(delta, bias.shape, Storage.PARAMETER, "int16", start, bias.origin))
    weight = graph.tensor(w)
    assert weight.data is not None
    attrs = dict(node.attrs)
    outputs = (*node.outputs, "", "", "")[:4]
    if update == "candidate":
        attrs |= {"candidate": -1, "split": "outputs"}
        return replace(node, inputs=(*node.inputs[:4], delta, ""), attrs=attrs), tensors
    if update == "weights":
        tensors.append(replace(weight, storage=Storage.PARAMETER))
    elif isinstance(update, ChannelUpdate):
        axis = 0 if update.side == "outputs" else 1
        depthwise = _is_depthwise(node, graph)
        chosen = _channels(node, graph, update, axis)
        others = sorted(set(range(_count(node, graph, axis))) - set(chosen))
        if depthwise:
            axis = 0
        learned = np.take(weight.data, chosen, axis)
        attrs["split"] = ("outputs", "inputs")[axis]
        tensors.append(_piece(weight, w, learned, Storage.PARAMETER))
        if others:
            rest, order = f"<{w}.frozen>", f"<{w}.order>"
            tensors.append(_piece(weight, rest, np.take(weight.data, others, axis), Storage.FLASH))
            tensors.append(_constant(order, np.asarray([*chosen, *others], np.uint16)))
            if outputs[3]:  # columns for w and for rest
                size = scratch_size(attrs, graph.shape(x), learned.shape, graph.shape(outputs[0]))
                tensors.append(replace(graph.tensor(outputs[3]), shape=(size,)))
            if axis == 1 or depthwise:
                given = graph.tensor(x)
                shape = (1, len(chosen), *given.shape[2:])
                saved = Tensor(f"<{w}.saved>", shape, dtype="int8", quantization=given.quantization)
                tensors.append(saved)
                outputs = (outputs[0], outputs[1], saved.name, outputs[3])
        else:
            attrs["split"] = None
    inputs = (*node.inputs[:4], delta, rest, order)
    return replace(node, inputs=inputs, outputs=outputs, attrs=attrs), tensors


def convolution_saves(node: Node, graph: Graph, plan: UpdatePlan) -> Rewrite:
    """A QLinearConv with its mask, and the factors of its gradients."""
    node, made = with_mask(node, graph, plan)
    tensors = list(made)
    x, w = graph.tensor(node.inputs[0]), graph.tensor(node.inputs[1])
    y = graph.tensor(node.outputs[0])
    assert x.quantization and w.quantization and y.quantization
    channels = y.shape[1]
    tensors_of = (x.quantization, w.quantization, y.quantization)
    s_x, s_w, s_y = (of.scales(channels).astype(np.float64) for of in tensors_of)
    alive = np.maximum(s_w, DEAD * np.median(s_w))
    factor = s_x / alive if plan.scaling else s_x * s_w
    to_bias = 1 / s_y if plan.scaling else (s_x * s_w) ** 2 / s_y
    names = {}
    for name, values in (("weight_scale", s_w), ("factor", factor), ("delta_factor", to_bias)):
        names[name] = f"<{w.name}.{name}>"
        tensors.append(_constant(names[name], values.astype(np.float32)))
    return replace(node, attrs={**node.attrs, **names}), tensors


def _is_depthwise(node: Node, graph: Graph) -> bool:
    channels = graph.shape(node.inputs[0])[1]
    return channels > 1 and node.attrs["group"] == channels == graph.shape(node.outputs[0])[1]


def _count(node: Node, graph: Graph, axis: int) -> int:
    """How many input (axis 1) or output channels (axis 0) a convolution has."""
    return graph.shape(node.outputs[0] if axis == 0 else node.inputs[0])[1]


def _channels(node: Node, graph: Graph, update: ChannelUpdate, axis: int) -> list[int]:
    """The channels that a plan names, in ascending order; a share must have been resolved."""
    count = _count(node, graph, axis)
    if axis == 1 and node.attrs["group"] > 1 and not _is_depthwise(node, graph):
        raise UserError(
            f"the plan names input channels of layer {node.name!r}, whose channels are in "
            f"{node.attrs['group']} groups; name outputs there"
        )
    if isinstance(update.chosen, float):
        raise UserError(f"layer {node.name!r}: a share of channels; choose which, by magnitude")
    chosen = sorted(set(update.chosen))
    if chosen[-1] >= count:
        raise UserError(
            f"the plan names channel {chosen[-1]} of the {update.side} of layer {node.name!r}, "
            f"which has {count}: 0 to {count - 1}"
        )
    return chosen


def _piece(weight: Tensor, name: str, data: Array, storage: Storage) -> Tensor:
    """A part of a weight; its scales stay those of all output channels."""
    return replace(weight, name=name, shape=data.shape, data=data, storage=storage)


def _constant(name: str, data: Array) -> Tensor:
    return Tensor(name, data.shape, Storage.FLASH, str(data.dtype), data)


def magnitude(node: Node, graph: Graph, axis: int) -> Array:
    """The sum of the real weights' magnitudes for each output (axis 0) or input channel (axis 1).

    Of a depthwise layer both are the same.
    """
    weight = graph.tensor(node.inputs[1])
    assert weight.data is not None and isinstance(weight.quantization, Quantization)
    scales = weight.quantization.scales(weight.shape[0]).astype(np.float64)
    real = np.abs(weight.data.astype(np.float64)) * scales[:, None, None, None]
    kept = 0 if _is_depthwise(node, graph) else axis
    return np.asarray(real.sum(axis=tuple(a for a in range(4) if a != kept)))
