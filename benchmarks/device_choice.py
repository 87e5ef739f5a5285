"""What a choice made while the board runs costs, beside the same choice compiled in.

    .venv/bin/python benchmarks/device_choice.py ../shared/models/mcunet_5fps_int8.onnx

The model gets a fresh head of ten classes, 22 candidates and a pool of 40 kB (weights and what lies
below their integers), on an nRF52840. Linked RAM and flash are the linker's, instructions those of
the virtual board, of one training step; the bits of both are compared.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import tinyodl
from tinyodl.pio import build
from tinyodl.project import manifest as manifest_file
from tinyodl.project.plan_file import dump_plan
from tinyodl.select.choice import Choice, with_choice
from tinyodl.session.linked import linked_firmware
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

BOARD, CANDIDATES, POOL, INPUTS = "nrf52840_dk", 22, 20_000, 8_000
STEPS = 2


def choices(manifest: manifest_file.Manifest) -> dict[str, Choice]:
    """Some choices: biases alone, middle layers, the last ones. Each fits the memory for inputs."""
    layers = manifest.candidates
    alone = [each for each in layers if each.alone]
    wide = [each for each in layers if not each.alone and each.channels > each.shape[1]]

    def some(step: int, *chosen: manifest_file.OpenLayerRecord) -> Choice:
        return {each.name: tuple(range(0, each.channels, step)) for each in chosen}

    return {
        "biases": {each.name: () for each in layers},
        "middle": {**some(4, *alone[:2]), **some(2, wide[-2])},
        "last": some(8, alone[-2], wide[-2], wide[-1]),
    }


def measured(project: Path, choice: Choice | None, x: np.ndarray) -> tuple[list[int], float]:
    """Instructions of the last of some steps, by phase, and its loss."""
    with Session(project, "virtual", patience=900) as session:
        if choice is not None:
            session.reset()
            session.choose(choice)
        for step in range(STEPS):
            before = session.instructions()
            reply = session.client.train(x[step], step)
            after = session.instructions()
    assert before is not None and after is not None
    return [b - a for a, b in zip(before, after, strict=True)], reply.loss


def main(model: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="device-choice-"))
    board = load_board(BOARD)
    first = folder / "sizes"
    options = {"head": "dense:10", "seed": 1}
    tinyodl.compile(model, BOARD, first, update="device", candidates=str(CANDIDATES), **options)
    plan = manifest_file.load(first).plan.model_copy(update={"pool": POOL, "pool_inputs": INPUTS})
    chosen_later = compiled(model, folder / "device", dump_plan(plan), options)
    manifest = manifest_file.load(chosen_later)
    linked = linked_firmware(chosen_later, board)
    print(f"chosen by the run: {linked}, predicted {manifest.ram.total} B of RAM", flush=True)
    size = manifest.model.input_shape
    x = np.random.default_rng(0).normal(size=(STEPS, *size[1:])).astype(np.float32)
    for name, choice in choices(manifest).items():
        static = compiled(model, folder / name, dump_plan(with_choice(plan, choice)), options)
        ours, loss = measured(chosen_later, choice, x)
        theirs, expected = measured(static, None, x)
        assert loss == expected, (loss, expected)
        linked = linked_firmware(static, board)
        print(
            f"{name}: {sum(ours):,} {ours} against {sum(theirs):,} {theirs} compiled in: "
            f"{sum(ours) / sum(theirs):.3f}; compiled in {linked}",
            flush=True,
        )


def compiled(model: Path, out: Path, plan: str, options: dict[str, object]) -> Path:
    """A built project of the model under a plan file."""
    file = out.with_suffix(".toml")
    file.write_text(plan)
    tinyodl.compile(model, BOARD, out, update=str(file), **options)  # type: ignore[arg-type]
    build(out, load_board(BOARD))
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]))
