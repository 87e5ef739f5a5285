"""The private core directory: complete, written once, and never the user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tinyodl
from tests.ports.projects import write_project
from tinyodl.errors import ToolError
from tinyodl.pio.standins import core_directory, core_files
from tinyodl.resources import BOARDS, TEMPLATES
from tinyodl.targets.boards import board_names, load_board


def all_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_platformio_misses_nothing_for_any_board(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(core_directory()))
    probe = Path(tinyodl.__file__).parent / "pio" / "probe.py"
    for name in set(board_names()) - {"host"}:
        project = write_project(tmp_path / name, name)
        command = [sys.executable, str(probe), str(project), name, "buildprog", "upload"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout) == {"missing": []}


def test_the_directory_holds_exactly_the_files_and_its_name_is_their_digest(
    own_cache: Path,
) -> None:
    core = core_directory()
    assert core.parent == own_cache / "tinyodl" / "platformio"
    assert all_files(core) == core_files()
    assert core_directory() == core


def test_other_content_gets_another_directory(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = core_directory()
    changed = core_files() | {"packages/tool-scons/scons.py": b"# another release of tinyodl\n"}
    monkeypatch.setattr("tinyodl.pio.standins.core_files", lambda: changed)
    assert core_directory() != before
    assert all_files(before) == core_files()


def test_many_at_once_make_one_directory(own_cache: Path) -> None:
    command = [sys.executable, "-c", "import tinyodl.pio.standins as s; print(s.core_directory())"]
    environment = os.environ | {"PYTHONPATH": str(Path(tinyodl.__file__).parent.parent)}
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda _: subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ),
                range(4),
            )
        )
    assert len({answer.stdout for answer in answers}) == 1
    assert [p.name for p in (own_cache / "tinyodl" / "platformio").iterdir()] == [
        core_directory().name
    ]


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with pytest.raises(ToolError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        core_directory()


def test_an_installed_wheel_has_the_same_stand_ins(own_cache: Path, tmp_path: Path) -> None:
    """Laid out as pyproject.toml lays out the wheel: templates and boards inside the package."""
    site = tmp_path / "site"
    package = site / "tinyodl"
    shutil.copytree(
        Path(tinyodl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(TEMPLATES, package / "templates")
    shutil.copytree(BOARDS, package / "boards_data")
    command = [sys.executable, "-c", "import tinyodl.pio.standins as s; print(s.core_directory())"]
    answer = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == str(core_directory())


def test_stand_in_boards_are_the_boards() -> None:
    for name in set(board_names()) - {"host"}:
        board = load_board(name)
        ids = board.platformio
        text = core_files()[f"platforms/{ids.platform}/boards/{ids.board}.json"]
        described = json.loads(text)
        assert described["build"]["f_cpu"] == f"{board.clock_hz}L"
        assert described["upload"]["maximum_size"] == board.flash.size
