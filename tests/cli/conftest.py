"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tinyodl.cli.main import tinyodl as commands

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "from tinyodl.cli import main; main()"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "100",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Outcome:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.code == 0, self.err
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Run = Callable[..., Outcome]


@contextmanager
def started(*command: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone afterwards, whatever the test finds."""
    process = subprocess.Popen(
        list(map(str, command)),
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def tinyodl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `tinyodl` with these arguments in an empty directory; in this process, to be quick."""
    where = tmp_path / "cwd"
    where.mkdir()
    monkeypatch.chdir(where)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Outcome:
        done = CliRunner().invoke(commands, list(map(str, arguments)), prog_name="tinyodl")
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return run
