"""What a rehearsal is about, complete in itself: any process on any machine can work on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyodl.project.options import OPTIONS, kind_of
from tinyodl.rehearsal.material import Material
from tinyodl.rehearsal.trial import Course
from tinyodl.targets.boards import Board


@dataclass(frozen=True)
class Budgets:
    """The most that a plan may take; None: what the board has, or no limit.

    ram, flash  bytes
    ms, mj      modelled time and estimated energy of a step
    """

    ram: int | None = None
    flash: int | None = None
    ms: float | None = None
    mj: float | None = None


@dataclass(frozen=True)
class Problem:
    """A model, a board, samples, and the options that every candidate has.

    version   of tinyodl, which has to be the same wherever candidates are tried
    name      the model's file name
    model     the file's content
    options   of `tinyodl.compile`, except for what candidates set
    files     the contents of files that options name, by the option
    samples   to learn from and to be tried on
    begin     old samples, from which a started candidate begins
    kept      old samples, of which is counted what is still right after learning
    course    how candidates learn
    """

    version: str
    name: str
    model: bytes
    board: Board
    options: Mapping[str, Any]
    samples: Material
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    begin: Material | None = None
    kept: Material | None = None
    budgets: Budgets = field(default_factory=Budgets)
    course: Course = field(default_factory=Course)

    def digest(self) -> str:
        """Tells problems apart: the same digest, the same results."""
        told = hashlib.sha256()
        settings = (self.version, self.name, self.options, self.budgets, self.course, self.files)
        for part in (repr(settings), self.board.model_dump_json()):
            told.update(part.encode())
        told.update(self.model)
        for material in (self.samples, self.begin, self.kept):
            for array in (material.x, material.y, material.groups) if material else ():
                told.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return told.hexdigest()

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The model's path, and the options with the paths of their files, while it is open."""
        with tempfile.TemporaryDirectory(prefix="tinyodl-", ignore_cleanup_errors=True) as made:
            folder = Path(made)
            model = folder / self.name
            model.write_bytes(self.model)
            options = dict(self.options)
            for option, (name, content) in self.files.items():
                path = folder / f"{option}-{name}"
                path.write_bytes(content)
                options[option] = path
            yield model, options

    def started_from(self, folder: Path) -> Path:
        """Writes the old samples from which a started candidate begins."""
        assert self.begin is not None
        path = folder / "begin.npz"
        np.savez(path, x=self.begin.x, y=self.begin.y)
        return path


def with_files(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
    """The options without paths, and the contents of the files that these named."""
    paths = {name: Path(value) for name, value in options.items() if kind_of(OPTIONS[name]) is Path}
    files = {name: (path.name, path.read_bytes()) for name, path in paths.items()}
    return {name: value for name, value in options.items() if name not in files}, files


def settings_digest(problem: str, candidate: object) -> str:
    """Tells a candidate of a problem, by that one's digest, from all others."""
    text = json.dumps([problem, repr(candidate)])
    return hashlib.sha256(text.encode()).hexdigest()
