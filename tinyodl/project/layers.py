"""The layers of a network as plans, manifests and reports list them: what each has and learns."""

from __future__ import annotations

from typing import Any

from tinyodl.graph import Graph, Node, Storage
from tinyodl.learning.candidates import candidates_of
from tinyodl.ops import OPERATORS, biases_of, layers_of, weights_of
from tinyodl.project.layer_update import LayerUpdate
from tinyodl.project.manifest import (
    ChannelsRecord,
    LayerRecord,
    OpenLayerRecord,
    OriginRecord,
    Part,
    SharedRecord,
)
from tinyodl.project.plan import UpdatePlan


def layer_records(graph: Graph, training: Graph, plan: UpdatePlan) -> tuple[LayerRecord, ...]:
    """Every layer of `graph`; `training` is its training graph under `plan`."""
    return tuple(_layer(node, graph, training, plan) for node in layers_of(graph))


def learning(plan: UpdatePlan) -> str:
    """What learns under a plan, in a few words: "4 layers, 12 biases"."""
    kinds = {"layers": 0, "parts of layers": 0, "biases": 0}
    for update in plan.layers.values():
        if update == "bias":
            kinds["biases"] += 1
        elif update in ("weights", "statistics"):
            kinds["layers"] += 1
        elif update != "none":
            kinds["parts of layers"] += 1
    singular = {"layers": "layer", "parts of layers": "part of a layer", "biases": "bias"}
    told = (f"{n} {kind if n > 1 else singular[kind]}" for kind, n in kinds.items() if n)
    return ", ".join(told) or "nothing"


def shared_records(graph: Graph, training: Graph) -> tuple[SharedRecord, ...]:
    """The parameters read by several nodes: each is one tensor and learns from all of them."""
    found = []
    for tensor in graph.tensors.values():
        readers = graph.consumers.get(tensor.name, ())
        uses = tuple(dict.fromkeys(use for node in readers for use in _uses(node, tensor.name)))
        if len(uses) > 1 and _learns(tensor.name, training):
            name = tensor.origin.initializer if tensor.origin else None
            found.append(SharedRecord(uses=uses, initializer=name))
    return tuple(found)


def candidate_records(training: Graph) -> tuple[OpenLayerRecord, ...]:
    """The layers of a training graph of which a run chooses what learns."""
    found = []
    for each in candidates_of(training):
        weight = training.tensor(each.weight)
        assert weight.origin is not None
        origin = OriginRecord(**vars(weight.origin))
        found.append(
            OpenLayerRecord(
                name=each.name,
                shape=weight.shape,
                input=each.input,
                alone=each.alone,
                origin=origin,
            )
        )
    return tuple(found)


def _layer(node: Node, graph: Graph, training: Graph, plan: UpdatePlan) -> LayerRecord:
    weights, biases = weights_of(node, graph), biases_of(node, graph)
    named: dict[Part, tuple[str, ...]] = {"weights": weights, "bias": biases}
    held = {part: names for part, names in named.items() if names}
    update = plan.layers.get(node.name, "none")
    return LayerRecord(
        name=node.name,
        op=node.op,
        output_shape=graph.shape(node.outputs[0]),
        parameters=sum(graph.tensor(name).size for name in (*weights, *biases)),
        macs=OPERATORS[node.op].macs(node, graph),
        parts=tuple(held),
        also=tuple(
            part
            for part, names in held.items()
            if update in ("none", "bias") and part != update and _learns(names[0], training)
        ),
        **_updates(update, node, graph),
    )


def _updates(update: LayerUpdate, node: Node, graph: Graph) -> dict[str, Any]:
    """The parts of a layer that learn, as the manifest names them."""
    if isinstance(update, str):
        return {"updates": update}
    of = node.inputs[0] if update.side == "inputs" else node.outputs[0]
    channels = update.chosen
    assert isinstance(channels, tuple)
    chosen = ChannelsRecord(side=update.side, chosen=channels, of=graph.shape(of)[1])
    return {"updates": "weights", "channels": chosen}


def _learns(name: str, training: Graph) -> bool:
    return name in training.tensors and training.tensor(name).storage is Storage.PARAMETER


def _uses(node: Node, name: str) -> list[str]:
    """The tensor's part in a node, as `fc.weight`, or the node's name if the node is no layer."""
    layer = OPERATORS[node.op].layer
    found = []
    for slot, each in enumerate(node.inputs):
        if each == name:
            weight, bias = layer and slot in layer.weights, layer and slot in layer.biases
            found.append(
                f"{node.name}.{'weight' if weight else 'bias'}" if weight or bias else node.name
            )
    return found
