"""The published sparse update schemes as plan files, for MobileNets whose blocks are in order.

    .venv/bin/python benchmarks/schemes.py MODEL.onnx mcunet-5fps-49KB > plan.toml

A scheme says how many of the last convolutions learn their biases, and of which convolutions a
share of the input channels learns its weights (J. Lin et al., "On-Device Training Under 256KB
Memory", NeurIPS 2022, and its public code). A share of 0 is the bias alone. The classifier always
learns. Blocks are counted from 0; in a block pw1 expands, dw is depthwise, pw2 projects.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from tinyodl.frontend.names import node_names
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan

HEAD = "head.dense1"  # of --head dense:CLASSES
LEARNING_RATE = 0.01

# Biases of so many of the last convolutions, and shares by block and place.
SCHEMES: dict[str, tuple[int, dict[str, float]]] = {
    "mcunet-5fps-49KB": (
        20,
        {"b7.pw2": 0, "b8.pw1": 0.25, "b9.pw1": 0.5, "b10.pw1": 0.5, "b11.pw1": 0, "b13.pw1": 0},
    ),
    "mcunet-5fps-99KB": (
        22,
        dict.fromkeys(("b7.pw1", "b8.pw1", "b9.pw1", "b10.pw1"), 1.0)
        | {"b12.pw1": 0.125, "b13.pw1": 0.25},
    ),
    "mbv2-w0.35-49KB": (
        16,
        {"b12.pw1": 1.0, "b13.pw1": 1.0, "b13.dw": 0, "b13.pw2": 0.25}
        | dict.fromkeys(("b14.pw1", "b15.pw1", "b16.pw1", "b16.dw"), 0.125),
    ),
    "mbv2-w0.35-99KB": (
        25,
        dict.fromkeys(("b9.pw1", "b10.pw1", "b11.pw1", "b12.pw1", "b13.pw1"), 1.0)
        | {"b14.pw1": 0.125, "b15.pw1": 0.5, "b16.pw1": 1.0},
    ),
}


def plan(model: onnx.ModelProto, scheme: str, learning_rate: float = LEARNING_RATE) -> UpdatePlan:
    """The plan of a scheme for a model whose last convolution is its classifier."""
    count, shares = SCHEMES[scheme]
    convolutions = places(model)
    layers: dict[str, LayerUpdate] = dict.fromkeys(list(convolutions.values())[-count:], "bias")
    for place, share in shares.items():
        side = "outputs" if place.endswith("dw") else "inputs"
        name = convolutions[place]
        if share == 1:
            layers[name] = "weights"
        elif share:
            layers[name] = ChannelUpdate.model_validate({side: share})
    layers[HEAD] = "weights"
    return UpdatePlan(layers=layers, learning_rate=learning_rate)


def places(model: onnx.ModelProto) -> dict[str, str]:
    """The node of each convolution by its place, the classifier left out."""
    names = node_names(model.graph)
    nodes = [n for n in zip(names, model.graph.node, strict=True) if n[1].op_type == "Conv"][:-1]
    depthwise = [any(a.name == "group" and a.i > 1 for a in node.attribute) for _, node in nodes]
    found: dict[str, str] = {"first": nodes[0][0]}
    block, before = -1, "first"
    for index, (name, _) in enumerate(nodes[1:], start=1):
        place = "dw" if depthwise[index] else "pw2" if before == "dw" else "pw1"
        if place == "pw1" or (place == "dw" and before != "pw1"):
            block += 1
        found[f"b{block}.{place}"] = name
        before = place
    return found


if __name__ == "__main__":
    path, scheme = Path(sys.argv[1]), sys.argv[2]
    print(f"# {scheme}, for {path.name} with --head dense:CLASSES. See benchmarks/schemes.py.")
    print(dump_plan(plan(onnx.load(path), scheme)), end="")
