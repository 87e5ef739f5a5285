"""int8 networks that learn on an nRF52840: RAM and flash as linked, and one step.

    .venv/bin/python benchmarks/int8_memory.py

MCUNet and MobileNetV2 at 128x128 learn ten classes under the published sparse schemes
(benchmarks/schemes.py), with a float32 classifier. The three MLPerf Tiny networks learn the biases
and weights of their last block and their classifier; once more with every bias; and once more with
an eighth of the block's input channels, where the whole block is too much. RAM is .data + .bss +
the reserved stack. Instructions are exact, cycles modelled, both of one training step on the
virtual board.

The models are not part of the project; they are looked for beside it, in shared/.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinyodl
from tinyodl import pio
from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.errors import DoesNotFitError
from tinyodl.frontend import import_model
from tinyodl.ops import layers_of
from tinyodl.project.layer_update import ChannelUpdate, LayerUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
MODELS = ROOT.parent / "shared" / "models"
SCHEMES = ROOT / "examples" / "schemes"
BOARD = "nrf52840_dk"


@dataclass(frozen=True)
class Case:
    """A model and what of it learns: a published scheme, or its last layers."""

    model: str
    scheme: str
    last: int = 0  # layers of the last block and the classifier
    biases: bool = False  # of all layers
    share: float = 1.0  # of the block's input channels


CASES = [
    Case("mcunet_5fps_int8", "mcunet-5fps-49KB"),
    Case("mcunet_5fps_int8", "mcunet-5fps-99KB"),
    Case("mbv2_w035_int8", "mbv2-w0.35-49KB"),
    Case("mbv2_w035_int8", "mbv2-w0.35-99KB"),
    *(
        Case(f"mlperftiny_{model}_int8", scheme, last, biases, share)
        for model, last in (("resnet8_cifar10", 4), ("dscnn_kws", 3), ("mobilenetv1_025_vww", 3))
        for scheme, biases, share in (
            ("last block", False, 1.0),
            ("last block, 1/8 of inputs", False, 0.125),
            ("last block, all biases", True, 1.0),
        )
    ),
]


def plan_of(case: Case) -> UpdatePlan:
    """Biases and weights of the last layers, or biases of all."""
    graph = import_model(MODELS / f"{case.model}.onnx")
    layers = [node.name for node in layers_of(graph)]
    updates: dict[str, LayerUpdate] = dict.fromkeys(layers if case.biases else (), "bias")
    for node in layers_of(graph)[-case.last :]:
        if case.share == 1 or node.name == layers[-1]:
            updates[node.name] = "weights"
        else:
            depthwise = node.attrs["group"] > 1
            updates[node.name] = ChannelUpdate.model_validate(
                {"outputs" if depthwise else "inputs": case.share}
            )
    return UpdatePlan(layers=updates)


def measure(case: Case, folder: Path) -> str:
    """A row of the table."""
    options: dict[str, Any] = {"update": SCHEMES / f"{case.scheme}.toml", "head": "dense:10"}
    if case.last:
        plan = folder / "plan.toml"
        plan.write_text(dump_plan(plan_of(case)))
        options = {"update": plan}
    path = MODELS / f"{case.model}.onnx"
    try:
        manifest = tinyodl.compile(path, BOARD, folder / "project", **options)
    except DoesNotFitError:
        total = tinyodl.plan(path, BOARD, **options).ram
        return (
            f"| {case.model} | {case.scheme} | {total.parts['arena']:,} | | {total.total:,} | | |"
        )
    built = pio.build(folder / "project", load_board(BOARD))
    ram = built.data_bytes + built.bss_bytes + built.stack_bytes
    shape = manifest.model.input_shape
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    transport = connect(folder / "project", "virtual")
    try:
        client = Client(transport, manifest)
        client.train(x, 0)
        before = transport.counters()
        client.train(x, 0)
        after = transport.counters()
    finally:
        transport.close()
    phases = ("forward", "backward", "update")
    instructions = sum(after[p].instructions - before[p].instructions for p in phases)
    cycles = sum(after[p].cycles - before[p].cycles for p in phases)
    arena = manifest.arena
    return (
        f"| {case.model} | {case.scheme} | {arena.bytes:,} | {arena.lower_bound:,} "
        f"| {manifest.ram.total:,} | {ram:,} | {built.flash_bytes:,} "
        f"| {instructions / 1e6:.1f} M | {cycles / 1e6:.1f} M |"
    )


def main() -> None:
    """Print the table; arguments choose cases by parts of their models' names."""
    print("| model | scheme | arena | lower bound | predicted | RAM, linked | flash | ins | cyc |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for case in CASES:
        if len(sys.argv) == 1 or any(part in case.model for part in sys.argv[1:]):
            with tempfile.TemporaryDirectory() as folder:
                print(measure(case, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
