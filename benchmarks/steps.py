"""One training step on the virtual nRF52840: exact instructions, modelled cycles, linked memory."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import tinyodl
from tinyodl import pio
from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.errors import DoesNotFitError
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
MODELS = [
    ROOT / "examples" / "watch" / "watch_cnn_c7.onnx",
    *sorted((ROOT / "tests" / "models").glob("*.onnx")),
]
BOARD = "nrf52840_dk"


def main(models: list[Path]) -> None:
    """Print a row for each model and update scheme."""
    print("| model | update | RAM | flash | phase | MACs | instructions | ins/MAC | cycles |")
    print("|---|---|--:|--:|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for update in ("last", "full"):
                try:
                    measure(model, update, Path(folder) / f"{model.stem}-{update}")
                except DoesNotFitError as error:
                    print(f"| {model.stem} | {update} | {error} |")


def measure(model: Path, update: str, project: Path) -> None:
    """Build, train one sample twice, and count the second step."""
    manifest = tinyodl.compile(model, BOARD, project, update=update)
    built = pio.build(project, load_board(BOARD))
    ram = built.data_bytes + built.bss_bytes + built.stack_bytes
    x = np.random.default_rng(0).normal(size=manifest.model.input_shape).astype(np.float32)
    transport = connect(project, "virtual")
    try:
        client = Client(transport, manifest)
        client.train(x, 0)
        before = transport.counters()
        client.train(x, 0)
        after = transport.counters()
    finally:
        transport.close()
    for phase in ("forward", "backward", "update"):
        macs = getattr(manifest.macs, phase)
        instructions = after[phase].instructions - before[phase].instructions
        cycles = after[phase].cycles - before[phase].cycles
        rate = f"{instructions / macs:.2f}" if macs else ""
        print(
            f"| {model.stem} | {update} | {ram:,} | {built.flash_bytes:,} | {phase} | {macs:,} "
            f"| {instructions:,} | {rate} | {cycles:,} |"
        )


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or MODELS)
