"""Damaged files: whatever their bytes, a command works or ends with an error that names what to do.

Each trial damages one of the files that tinyodl reads, as disks, transfers and people do it (bits
flipped, bytes cut, doubled, swapped or replaced by what parsers dislike), and reads it as a command
would. Anything but a result or a TinyodlError is a fault.
"""

from __future__ import annotations

import io
import itertools
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests import fakes, hostile
from tinyodl.compiler import compilation, compile_model
from tinyodl.errors import TinyodlError
from tinyodl.project import manifest
from tinyodl.project.plan_file import load_plan
from tinyodl.report import report_html
from tinyodl.report.plans import print_plan
from tinyodl.report.tables import print_runs
from tinyodl.report.terminal import Terminal
from tinyodl.runs import log as runlog
from tinyodl.samples import data
from tinyodl.targets.boards import load_board

WHAT = "damaged files (models, projects, plans, data, runs): a result, or an error with its remedy"

_BAD = (
    *(b"\xff", b"\x00", b"\x1b[2J", b'"', b"{", b"}", b"1e999", b"-1", b"nan", b"null", b"\n"),
    *(b"\\u0000", b"\xed\xa0\x80", b"9" * 400, b"[" * 3000, b'= {"a" = [', b"\\ud800", b"inf"),
)


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    source = random.Random(seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        given = _files(folder / "given")
        for name, (row, read) in itertools.cycle(_READERS.items()):
            copy = folder / "copy"
            shutil.copytree(given, copy)
            path = copy / name
            path.write_bytes(damaged(path.read_bytes(), source))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(copy)
                wrong = None
            except TinyodlError as error:
                wrong = None if str(error) else "an error without a word"
            except Exception as error:
                wrong = f"{name}: {type(error).__name__}: {error}"[:400]
            shutil.rmtree(copy)
            yield row, wrong


def damaged(content: bytes, source: random.Random) -> bytes:
    """The bytes after one to four mishaps."""
    made = bytearray(content)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(made) + 1)
        to = min(len(made), at + source.choice((1, 2, 8, 100)))
        mishap = source.randrange(6)
        if mishap == 0 and at < len(made):
            made[at] ^= 1 << source.randrange(8)
        elif mishap == 1:
            del made[at:to]
        elif mishap == 2:
            made[at:at] = made[at:to]
        elif mishap == 3:
            made[at:to] = source.choice(_BAD)
        elif mishap == 4 and source.random() < 0.3:
            del made[at:]
        else:
            made[at:at] = source.choice(_BAD)
    return bytes(made)


def _files(folder: Path) -> Path:
    """A model, its project, data and a run."""
    folder.mkdir(parents=True)
    names = (f"name{i}" for i in itertools.count())
    compile_model(hostile.chain(folder / "m.onnx", names), "host", folder / "p", update="full")
    source = np.random.default_rng(0)
    x, y = source.normal(size=(5, 4)).astype(np.float32), source.integers(0, 3, 5)
    np.savez(folder / "d.npz", x=x, y=y)
    rows = [",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True)]
    (folder / "d.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")
    log = runlog.RunLog(folder / "run", fakes.record(), manifest.load(folder / "p"))
    for index in range(3):
        log.step(fakes.step(index))
    log.close()
    return folder


def _read_model(folder: Path) -> None:
    compilation(folder / "m.onnx", load_board("host"), {"update": "full"})


def _read_project(folder: Path) -> None:
    print_plan(_quiet(), manifest.load(folder / "p"))


def _read_plan(folder: Path) -> None:
    load_plan(folder / "p/plan.toml")


def _read_samples(name: str) -> Callable[[Path], None]:
    return lambda folder: [data.load(folder / name, manifest.load(folder / "p"))].clear()


def _read_run(folder: Path) -> None:
    runs = [runlog.read(folder / "run")]
    print_runs(_quiet(), runs)
    report_html(runs).encode("utf-8")


def _quiet() -> Terminal:
    return Terminal(file=io.StringIO())


_READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "m.onnx": ("damaged ONNX file", _read_model),
    "p/tinyodl.json": ("damaged project", _read_project),
    "p/plan.toml": ("damaged plan file", _read_plan),
    "d.npz": ("damaged samples", _read_samples("d.npz")),
    "d.csv": ("damaged samples", _read_samples("d.csv")),
    "run/run.json": ("damaged run", _read_run),
    "run/steps.jsonl": ("damaged run", _read_run),
    "run/tinyodl.json": ("damaged run", _read_run),
}
