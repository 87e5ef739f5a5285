"""The folder a run leaves behind, with `run.json`, `steps.jsonl` and a copy of the manifest.

`steps.jsonl` gets one line a step, flushed as it goes; `run.json` is replaced as a whole. So a run
that was cut off at any byte can still be read: an unfinished last line is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinyodl.errors import TinyodlError, UserError
from tinyodl.files.whole_files import write_whole
from tinyodl.project import manifest as manifest_file
from tinyodl.project.manifest import Manifest
from tinyodl.runs.record import Event, EventName, RunRecord, Step
from tinyodl.runs.summary import RunSummary, summarize
from tinyodl.text import stored

RECORD_NAME = "run.json"
STEPS_NAME = "steps.jsonl"


class RunLogError(TinyodlError):
    """The run's folder cannot be written: the disk is full, or the folder is gone."""


@dataclass(frozen=True)
class Run:
    """A run as read from its folder."""

    folder: Path
    record: RunRecord
    manifest: Manifest
    steps: tuple[Step, ...]

    @property
    def summary(self) -> RunSummary:
        """The run in numbers, from the steps that were logged."""
        return summarize(self.record, self.steps, self.folder)


class RunLog:
    """Writes a run's folder. Every method raises RunLogError when the disk refuses."""

    def __init__(self, folder: Path, record: RunRecord, manifest: Manifest) -> None:
        self.folder = folder
        self.record = record
        self.steps: list[Step] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / manifest_file.FILE_NAME, manifest_file.dump(manifest))
            self._lines = (folder / STEPS_NAME).open("w", encoding="utf-8")
            self.update()
        except OSError as error:
            raise _refused(folder, error) from error

    @classmethod
    def again(cls, run: Run) -> RunLog:
        """Go on with the log of a run that was cut off, from its last whole line."""
        log = cls.__new__(cls)
        log.folder, log.record, log.steps = run.folder, run.record, list(run.steps)
        log._rewrite()
        return log

    def step(self, step: Step) -> None:
        """Append one step; when this returns, the operating system has it."""
        try:
            self._lines.write(step.model_dump_json() + "\n")
            self._lines.flush()
        except OSError as error:
            raise _refused(self.folder, error) from error
        self.steps.append(step)

    def go_back(self, steps: int, epochs: int) -> list[Step]:
        """Forget all but the first steps, and all but the first epochs from the cache.

        What is forgotten of the steps.
        """
        forgotten = self.steps[steps:]
        del self.steps[steps:]
        self.close()
        self._rewrite()
        outliers = tuple(each for each in self.record.outliers if each.step < steps)
        self.update(replays=self.record.replays[:epochs], outliers=outliers)
        return forgotten

    def _rewrite(self) -> None:
        path = self.folder / STEPS_NAME
        try:
            write_whole(path, "".join(step.model_dump_json() + "\n" for step in self.steps))
            self._lines = path.open("a", encoding="utf-8")
        except OSError as error:
            raise _refused(self.folder, error) from error

    def happened(self, step: int, name: EventName, generation: int | None = None) -> None:
        """Add an event that the host saw to `run.json`."""
        event = Event(step=step, name=name, generation=generation)
        self.update(happened=(*self.record.happened, event))

    def update(self, **changes: Any) -> None:
        """Change fields of `run.json`."""
        texts = {name: stored(text) for name, text in changes.items() if isinstance(text, str)}
        self.record = self.record.model_copy(update=changes | texts)
        try:
            write_whole(self.folder / RECORD_NAME, self.record.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise _refused(self.folder, error) from error

    def close(self) -> None:
        """Close the files; the last word is whatever `update` wrote."""
        try:
            self._lines.close()
        except OSError as error:
            raise _refused(self.folder, error) from error


def now() -> str:
    """The local time to the second, ISO 8601 with its offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def default_folder(project: Path) -> Path:
    """`runs/<project>-<time>` below the current directory, a name that is not taken."""
    name = f"{project.resolve().name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = Path("runs") / name, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{count}"
    return folder


def require_free(folder: Path) -> None:
    """UserError if a run, or a file, lies there already."""
    if (folder / RECORD_NAME).exists() or (folder / STEPS_NAME).exists():
        raise UserError(f"{folder} already holds a run; name another folder with --run")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder with --run")


def claim(folder: Path) -> Path:
    """Take the folder for one run: of several that name it, in any process, one gets it.

    The claim is an empty `steps.jsonl`, which only the first can create. Raises UserError if a run
    lies there already, and RunLogError if the folder cannot be made.
    """
    require_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STEPS_NAME).touch(exist_ok=False)
    except FileExistsError:
        raise UserError(f"{folder} already holds a run; name another folder with --run") from None
    except OSError as error:
        raise _refused(folder, error) from error
    return folder


def claim_default(project: Path) -> Path:
    """Take a new folder with the name that `default_folder` gives."""
    while True:
        folder = default_folder(project)
        try:
            folder.mkdir(parents=True)
            return claim(folder)
        except FileExistsError:
            continue  # another run was faster; the next name
        except OSError as error:
            raise _refused(folder, error) from error


def read(folder: Path) -> Run:
    """The run in a folder (or whose `run.json` is given); UserError when there is none."""
    if folder.name == RECORD_NAME:
        folder = folder.parent
    path = folder / RECORD_NAME
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"{folder} holds no run ({RECORD_NAME}: {reason}); "
            "`tinyodl stream-train` makes one and prints its path"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}") from error
    return Run(folder, record, manifest_file.load(folder), _read_steps(folder / STEPS_NAME))


def read_all(folder: Path, tell: Callable[[str], object]) -> list[Run]:
    """The run in a folder; or all runs below it, the oldest first.

    An unreadable run below the folder is left out, and `tell` says so. Raises UserError if there is
    no run.
    """
    if folder.name == RECORD_NAME or (folder / RECORD_NAME).exists() or not folder.is_dir():
        return [read(folder)]
    runs = []
    for path in sorted(folder.rglob(RECORD_NAME)):
        try:
            runs.append(read(path.parent))
        except UserError as error:
            tell(f"Left out: {error}")
    return sorted(runs, key=lambda run: run.record.started) if runs else [read(folder)]


def _read_steps(path: Path) -> tuple[Step, ...]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    lines = text.split(b"\n")
    steps = []
    for number, line in enumerate(lines[:-1], start=1):  # text after the last newline is cut off
        try:
            steps.append(Step.model_validate_json(line))
        except ValidationError as error:
            raise UserError(
                f"{path}: line {number} is not a step: {error.errors()[0]['msg']}"
            ) from error
    return tuple(steps)


def _refused(folder: Path, error: OSError) -> RunLogError:
    return RunLogError(f"{folder}: the run cannot be logged: {error.strerror or error}")
