"""A file for each finished candidate: what is done stays done, and a second call goes on."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tinyodl.errors import TinyodlError
from tinyodl.files.whole_files import write_whole
from tinyodl.rehearsal.candidates import Candidate
from tinyodl.rehearsal.problem import settings_digest
from tinyodl.rehearsal.work import Result

_RESULT = TypeAdapter(Result)


class Records:
    """The results of one problem, in a folder that may have those of others.

    A file's name has the candidate's and a digest of all its result depends on, so that changed
    samples or options never find an old result.
    """

    def __init__(self, folder: Path | None, problem: str) -> None:
        """`problem` is the problem's digest. Without a folder nothing is kept."""
        self.folder = folder
        self._problem = problem

    def read(self, candidate: Candidate) -> Result | None:
        """A candidate's result; None where there is none, or the file is damaged."""
        if self.folder is None:
            return None
        try:
            return _RESULT.validate_json(self._path(self.folder, candidate).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, candidate: Candidate, result: Result) -> None:
        """Keeps a result that is whole. Raises TinyodlError where it cannot be written."""
        if self.folder is None or not result.whole:
            return
        path = self._path(self.folder, candidate)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, _RESULT.dump_json(result, indent=1) + b"\n")
        except OSError as error:
            raise TinyodlError(f"{path} cannot be written: {error.strerror or error}") from error

    def _path(self, folder: Path, candidate: Candidate) -> Path:
        words = re.sub(r"[^a-z0-9]+", "-", candidate.name.lower())
        return folder / f"{words}.{settings_digest(self._problem, candidate)[:12]}.json"
