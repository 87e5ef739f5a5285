"""Samples a second of networks in this process, one call each and many in C.

    .venv/bin/python benchmarks/host_run.py

Seconds of CPU, the best of three passes; on a machine that does other things too they vary by tens
of percent. The samples are random: the work does not depend on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyodl.compiler import compilation
from tinyodl.host_run.network import HostNetwork
from tinyodl.targets.boards import load_board

ROOT = Path(__file__).parent.parent
MODELS = ROOT.parent / "shared" / "models"


@dataclass(frozen=True)
class Case:
    """A model, what learns, and how many samples one pass has."""

    title: str
    model: Path
    options: dict[str, Any]
    samples: int


CASES = (
    Case("watch_cnn, last", ROOT / "examples" / "watch" / "watch_cnn_c7.onnx", {}, 4000),
    Case(
        "watch_cnn, full",
        ROOT / "examples" / "watch" / "watch_cnn_c7.onnx",
        {"update": "full"},
        2000,
    ),
    Case("digits, last", MODELS / "digits_mlp_64_32_10.onnx", {}, 40000),
    Case("digits, full", MODELS / "digits_mlp_64_32_10.onnx", {"update": "full"}, 40000),
    Case("MCUNet int8, last", MODELS / "mcunet_5fps_int8.onnx", {"update": "last"}, 20),
    Case("MCUNet int8, bias", MODELS / "mcunet_5fps_int8.onnx", {"update": "bias"}, 20),
)


def main() -> None:
    print(
        "| network | compile | forward_all | train, one by one | train_all |\n|---|---|---|---|---|"
    )
    for case in CASES:
        if not case.model.exists():
            print(f"| {case.title} | {case.model.name} is not here | | | |")
            continue
        made = compilation(case.model, load_board("host"), case.options)
        begun = time.perf_counter()
        with HostNetwork.of(made.lowered) as net:
            compiled = time.perf_counter() - begun
            random = np.random.default_rng(0)
            shape = (case.samples, *net.layout.inputs[0].shape[1:])
            x = random.normal(size=shape).astype(np.float32)
            y = random.integers(0, net.output.size, case.samples)

            def one_by_one(net: HostNetwork = net, x: Any = x, y: Any = y) -> None:
                for sample, label in zip(x, y, strict=True):
                    net.train(sample, int(label))

            passes: tuple[Callable[[], Any], ...] = (
                lambda net=net, x=x: net.forward_all(x),
                one_by_one,
                lambda net=net, x=x, y=y: net.train_all(x, y),
            )
            rates = [case.samples / min(_seconds(run) for _ in range(3)) for run in passes]
        cells = " | ".join(f"{rate:,.0f}/s" for rate in rates)
        print(f"| {case.title} | {compiled:.1f} s | {cells} |", flush=True)


def _seconds(run: Callable[[], Any]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
