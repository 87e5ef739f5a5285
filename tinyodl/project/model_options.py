"""Options of the network, its board and budgets: inputs, changes to the model, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tinyodl.project.option import Millijoules, Milliseconds, Option, Size

_NETWORK, _BUDGET = "The network", "Budgets"


def _always(text: str) -> bool:
    return True


OPTIONS = (
    Option(
        "board", example="nano33ble", kind=str, often=1, metavar="NAME|FILE.toml",
        is_path=lambda text: text.endswith(".toml"),
        help="See `tinyodl boards`; or the file of your own board.",
    ),
    Option(
        "out", example="project", kind=Path, often=2, flag="--out", metavar="DIR", is_path=_always,
        help="The project.",
    ),
    Option(
        "output", example="NAME", kind=str, group=_NETWORK, metavar="NAME",
        help="The output that is trained and answered, where the model has several.",
    ),
    Option(
        "shape", example=("x=1,12,5",), kind=str, group=_NETWORK, metavar="NAME=1,12,5",
        several=True,
        help="The size of each axis of an input, where the file leaves more open than the batch.",
    ),
    Option(
        "cut", example="NODE", kind=str, group=_NETWORK, metavar="NODE",
        help="End the network with this node; everything after it goes away.",
    ),
    Option(
        "head", example="dense:32,5", kind=str, often=7, metavar="dense:N[,N]|prototypes:N",
        help="A fresh classifier, dense layers of N units: after --cut, or in the place "
        "of the last dense layer, or on an embedding. With it, `--update last` is the head. "
        "prototypes:N: a layer made of the means of up to N labels, which come as they like.",
    ),
    Option(
        "tap", example=("NODE",), kind=str, group=_NETWORK, metavar="NODE", several=True,
        help="What the fresh head reads, if not what the last dense layer does; several are put "
        "side by side. reconstruction-error is that of an autoencoder.",
    ),
    Option(
        "simplify", kind=bool, gives=True, group=_NETWORK,
        help="Let onnxruntime fold constants and remove what has no effect, first.",
    ),
    Option(
        "precision", kind=Literal["float32", "int8"], often=10, note="as in the file",
        example="int8",
        help="int8: quantise a float32 model, except for a fresh head.",
    ),
    Option(
        "calibrate", example="day1.npz", kind=Path, often=11, metavar="DATA", is_path=_always,
        help="Samples (.npz or .csv) for --precision int8, as the board will see them; "
        "labels are not needed. They give the range of each value.",
    ),
    Option(
        "check", kind=bool, gives=False, flag="--no-check", group=_NETWORK, default=True,
        help="Do not compare what --simplify and --cut left with the original network.",
    ),
    Option(
        "ram", example="96KiB", kind=Size, group=_BUDGET, metavar="SIZE", note="the board's RAM",
        help="Budget of RAM, such as 96KiB.",
    ),
    Option(
        "flash", kind=Size, group=_BUDGET, metavar="SIZE", note="the board's flash",
        example="512KiB",
        help="Budget of flash.",
    ),
    Option(
        "time", kind=Milliseconds, group=_BUDGET, metavar="TIME", note="any",
        example="150ms",
        help="Budget for one training step, forward pass included, such as 150ms; as modelled.",
    ),
    Option(
        "energy", kind=Millijoules, group=_BUDGET, metavar="ENERGY", note="any",
        example="2mJ",
        help="Budget for the energy of one training step, such as 2mJ; as estimated.",
    ),
)  # fmt: skip
