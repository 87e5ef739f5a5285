"""How float32 layers learn: as a whole, or the weights of some output channels.

Then w holds the rows of the learning channels, in ascending order, and `rest` those that stay in
flash. uint16 `place` (M) says which row of w, or behind it of rest, each channel is; uint16
`channel` (n) says which channel each row of w is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array, Graph, Node, Storage, Tensor
from tinyodl.ops.shared.operator import OPERATORS, Rewrite, ShapeTuple
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate

GATHERED = 64  # weights of a filter at most, for four to be laid side by side: 1 KiB


def whole_tensors(node: Node, graph: Graph, update: LayerUpdate) -> Rewrite:
    """A layer as it learns as a whole: its constants become parameters. Raises UserError."""
    if not isinstance(update, str):
        raise UserError(
            f"the plan lets some channels of layer {node.name!r} learn, which is a {node.op} of "
            "float32; channels can be chosen of convolutions and dense layers: plan 'weights' or "
            "'bias'"
        )
    layer = OPERATORS[node.op].layer
    assert layer is not None
    slots = layer.biases if update == "bias" else (*layer.weights, *layer.biases)
    names = [node.inputs[slot] for slot in slots if slot < len(node.inputs)]
    constants = [name for name in names if name and graph.tensor(name).data is not None]
    return node, [replace(graph.tensor(name), storage=Storage.PARAMETER) for name in constants]


def channels_learn(node: Node, graph: Graph, update: LayerUpdate) -> Rewrite:
    """A Conv or Gemm as it learns: as a whole, or as ConvChannels or GemmChannels.

    Raises UserError for channels that the layer does not have, or cannot learn by themselves.
    """
    if not isinstance(update, ChannelUpdate):
        return whole_tensors(node, graph, update)
    x, w, b = node.inputs
    weight = graph.tensor(w)
    chosen = _chosen(node, graph, update)
    others = sorted(set(range(weight.shape[0])) - set(chosen))
    if not others:
        return whole_tensors(node, graph, "weights")
    assert weight.data is not None
    tensors = [replace(graph.tensor(b), storage=Storage.PARAMETER)] if b else []
    place = np.empty(weight.shape[0], np.uint16)
    place[[*chosen, *others]] = np.arange(weight.shape[0])
    rest = _rows(weight, f"<{w}.frozen>", others, Storage.FLASH)
    tensors += [_rows(weight, w, chosen, Storage.PARAMETER), rest]
    tensors += [
        _constant(f"<{w}.place>", place),
        _constant(f"<{w}.channel>", np.asarray(chosen, np.uint16)),
    ]
    outputs = node.outputs
    count = forward_part(weight.shape)
    if node.op == "Conv" and node.attrs["group"] == 1 and count > 1:
        size = count * (weight.size // weight.shape[0])
        tensors.append(Tensor(f"<{w}.scratch>", (size,)))
        outputs = (*outputs, f"<{w}.scratch>")
    inputs = (x, w, b, *(tensor.name for tensor in tensors if tensor.storage is Storage.FLASH))
    return replace(node, op=f"{node.op}Channels", inputs=inputs, outputs=outputs), tensors


def forward_part(weight: ShapeTuple) -> int:
    """How many filters of a convolution of one group are computed together."""
    each = int(np.prod(weight[1:]))
    return min(4, weight[0]) if each <= GATHERED else 1


def backward_part(weight: ShapeTuple) -> int:
    """How many input channels of its gradient are computed together."""
    each = int(weight[0] * np.prod(weight[2:]))
    return min(4, weight[1]) if each <= GATHERED else 1


def _chosen(node: Node, graph: Graph, update: ChannelUpdate) -> list[int]:
    """The channels that a plan names, in ascending order."""
    w = graph.shape(node.inputs[1])
    if update.side == "inputs" and not is_depthwise(node, graph):
        raise UserError(
            f"the plan names input channels of layer {node.name!r}, which is float32; name outputs "
            "there"
        )
    if not has_channels(node, graph):
        raise UserError(
            f"the plan lets some channels of layer {node.name!r} learn, which works on several "
            "rows, in several groups, or has weights that other layers share; plan 'weights' or "
            "'bias'"
        )
    if isinstance(update.chosen, float):
        raise UserError(f"layer {node.name!r}: a share of channels; choose which, by magnitude")
    chosen = sorted(set(update.chosen))
    if chosen[-1] >= w[0]:
        raise UserError(
            f"the plan names channel {chosen[-1]} of the {update.side} of layer {node.name!r}, "
            f"which has {w[0]}: 0 to {w[0] - 1}"
        )
    return chosen


def has_channels(node: Node, graph: Graph) -> bool:
    """Whether some channels of a float32 layer can learn by themselves."""
    alone = graph.consumers[node.inputs[1]] == (node,)
    if node.op == "Gemm":
        return alone and graph.tensor(node.inputs[0]).size == graph.shape(node.inputs[1])[1]
    return alone and (node.attrs["group"] == 1 or is_depthwise(node, graph))


def is_depthwise(node: Node, graph: Graph) -> bool:
    """Whether each output channel of a convolution reads the input channel of its number alone."""
    channels = graph.shape(node.inputs[0])[1]
    group = node.attrs.get("group", 1)
    return bool(group > 1 and group == channels == graph.shape(node.outputs[0])[1])


def _rows(weight: Tensor, name: str, rows: list[int], storage: Storage) -> Tensor:
    assert weight.data is not None
    data = weight.data[rows]
    return replace(weight, name=name, shape=data.shape, data=data, storage=storage)


def _constant(name: str, data: Array) -> Tensor:
    return Tensor(name, data.shape, Storage.FLASH, str(data.dtype), data)


def magnitude(node: Node, graph: Graph) -> Array:
    """The sum of the weights' magnitudes for each output channel."""
    weight = graph.tensor(node.inputs[1])
    assert weight.data is not None
    return np.asarray(np.abs(weight.data.astype(np.float64)).reshape(weight.shape[0], -1).sum(1))
