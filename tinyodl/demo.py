"""The demonstration: a watch that recognises exercises meets a person it has never seen.

Compiles the watch example, boots it on a virtual board, and lets it learn from person 8: five
times with the stream shuffled, each time from the weights of the ONNX file, and once in the order
of the recording. Then the same order with another learner, which cannot forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tinyodl import compile
from tinyodl.errors import UserError
from tinyodl.project.keyword_types import Options
from tinyodl.project.manifest import Manifest
from tinyodl.resources import EXAMPLES
from tinyodl.runs.log import RECORD_NAME, Run, read
from tinyodl.runs.progress import OnProgress
from tinyodl.samples import data
from tinyodl.session.flashing import Flashed, flash_project
from tinyodl.session.session import Session

MODEL = EXAMPLES / "watch" / "watch_cnn_c7.onnx"
PERSON = 8
BOARD = "nrf52840_dk"
LEARNING_RATE = 0.02
SEEDS: tuple[int | None, ...] = (0, 1, 2, 3, 4, None)  # None: in recorded order
SGD: Options = {"update": "last", "learning_rate": LEARNING_RATE}
RLS: Options = {"learner": "rls"}


def compile_watch(project: Path, options: Options) -> Manifest:
    """Compile the watch example into a project."""
    return compile(MODEL, BOARD, project, **options)


def boot_watch(project: Path) -> Flashed:
    """Build its firmware, and boot it on a virtual board to see that it answers."""
    return flash_project(project, "virtual")


def learn(
    project: Path, seeds: Iterable[int | None], runs: Path, bar: Callable[[str], OnProgress]
) -> list[Run]:
    """Let it learn once for each of the seeds, each time from the weights of the ONNX file.

    `bar` makes the progress callback of a run from its name. Runs of an earlier demonstration in
    the folder `runs` are replaced.
    """
    with Session(project, "virtual") as session:
        samples, tested = (
            data.load(MODEL.parent / f"person{PERSON}_{part}.npz", session.manifest)
            for part in ("learn", "test")
        )
        found = []
        for seed in seeds:
            order = "recorded-order" if seed is None else f"shuffled-{seed}"
            name = f"{project.name}-{order}"
            session.reset()
            summary = session.train(
                samples.x,
                samples.y,
                shuffle=seed,
                eval=(tested.x, tested.y),
                run=_emptied(runs / name),
                source=Path(samples.source).name,
                eval_source=Path(tested.source).name,
                progress=bar(name),
            )
            found.append(read(Path(summary.run)))
            if summary.status == "interrupted":
                break
    return found


def _emptied(folder: Path) -> Path:
    """The folder without an earlier demonstration's run; UserError if it is something else."""
    if folder.exists() and not (folder / RECORD_NAME).exists():
        raise UserError(f"{folder} exists and is not a run; give another folder with --out")
    for path in folder.glob("*"):
        path.unlink()
    return folder
