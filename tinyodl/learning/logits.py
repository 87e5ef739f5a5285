"""Logits, the inputs of cross-entropy: the input of the Softmax or Sigmoid at a network's end."""

from __future__ import annotations

from tinyodl.errors import UserError
from tinyodl.graph import Graph, Node
from tinyodl.ops import behind_views


def softmax_logits(graph: Graph) -> str:
    """The input of a final Softmax over the whole output, or the output if there is none."""
    node = _end(graph)
    if node and node.op == "Softmax":
        y = node.outputs[0]
        if graph.shape(y)[node.attrs["axis"]] == graph.tensor(y).size:
            return node.inputs[0]
    return graph.outputs[0]


def ends_in_sigmoid(graph: Graph) -> bool:
    """Whether the output is probabilities, each by itself."""
    node = _end(graph)
    return node is not None and node.op == "Sigmoid"


def sigmoid_logits(graph: Graph, loss: str) -> str:
    """The input of a final Sigmoid; a single output may be a logit itself.

    Raises UserError, which names the loss, where there is no Sigmoid.
    """
    node = _end(graph)
    if node and node.op == "Sigmoid":
        return node.inputs[0]
    if loss == "binary-cross-entropy" and graph.tensor(graph.outputs[0]).size == 1:
        return graph.outputs[0]
    found = f"from {node.name!r} ({node.op})" if node else "from the input"
    raise UserError(
        f"loss {loss} is of a network that ends in a float32 Sigmoid, and the output of this one "
        f"comes {found}; take another loss, or for labels --learner online --activation sigmoid"
    )


def _end(graph: Graph) -> Node | None:
    """The node that makes the output, views and the rounding to integers aside."""
    node = graph.producer.get(behind_views(graph.outputs[0], graph))
    while node and node.op in ("QuantizeLinear", "DequantizeLinear"):
        node = graph.producer.get(behind_views(node.inputs[0], graph))
    return node
