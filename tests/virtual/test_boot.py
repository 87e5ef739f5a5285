"""What `--port virtual` and `--port qemu` say when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.virtual.conftest import Build
from tinyodl import virtual
from tinyodl.errors import ToolError, UserError
from tinyodl.files.built_here import remember_program, sources_digest
from tinyodl.targets.boards import Board
from tinyodl.virtual.unicorn_board import UnicornBoard

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(build: Build, nrf: Board, tmp_path: Path) -> Path:
    """As PlatformIO leaves it."""
    elf = tmp_path / "project" / ".pio" / "build" / nrf.name / "firmware.elf"
    elf.parent.mkdir(parents=True)
    shutil.copy(build("faults", nrf), elf)
    return built_here(tmp_path / "project", elf)


def built_here(project: Path, elf: Path) -> Path:
    """As if `flash` had built it."""
    remember_program(project, elf, sources_digest(project))
    return project


def test_a_project_boots_with_its_store_beside_it(project: Path, nrf: Board) -> None:
    with virtual.boot(project, nrf) as board:
        board.write(b"e")
        assert board.read(1.0) == b"alive"
    assert nrf.store is not None
    assert (project / "flash.bin").stat().st_size == 2 * nrf.store.slot_bytes


def test_a_project_that_is_not_built_is_a_users_mistake(tmp_path: Path, nrf: Board) -> None:
    with pytest.raises(UserError, match=r"'tinyodl flash .* --port virtual' builds it"):
        virtual.boot(tmp_path, nrf)


def test_a_board_without_qemu_names_the_ones_with(project: Path, nrf: Board) -> None:
    with pytest.raises(UserError, match="boards that do: netduinoplus2"):
        virtual.boot_qemu(project, nrf)


def test_a_file_that_is_no_image_is_a_users_mistake(project: Path, nrf: Board) -> None:
    elf = project / ".pio/build" / nrf.name / "firmware.elf"
    elf.write_bytes(b"not an ELF file")
    built_here(project, elf)
    with pytest.raises(UserError, match="cannot be read as an ELF file"):
        virtual.boot(project, nrf)


def test_a_stripped_image_is_a_users_mistake(project: Path, nrf: Board) -> None:
    elf = project / ".pio/build" / nrf.name / "firmware.elf"
    subprocess.run([require_tool("arm-none-eabi-strip"), str(elf)], check=True)
    built_here(project, elf)
    with pytest.raises(UserError, match="has no symbols"):
        virtual.boot(project, nrf)


@pytest.mark.parametrize("package", ["unicorn", "capstone"])
def test_a_missing_package_is_named_with_the_remedy(project: Path, package: str) -> None:
    script = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
from tinyodl import virtual
from tinyodl.targets.boards import load_board
from tinyodl.errors import ToolError
try:
    virtual.boot(Path({str(project)!r}), load_board("nrf52840_dk"))
except ToolError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    assert f"the package {package}" in run.stdout
    assert "pip install 'tinyodl[virtual]'" in run.stdout


def test_a_unicorn_that_would_count_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch, project: Path, nrf: Board
) -> None:
    monkeypatch.setattr("unicorn.UC_VERSION_PATCH", 3)
    with pytest.raises(ToolError, match=r"needs unicorn 2\.1\.4 and found 2\.1\.3"):
        virtual.boot(project, nrf)


def test_without_a_host_compiler_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, build: Build, nrf: Board, tmp_path: Path
) -> None:
    elf = build("loops", nrf)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tinyodl.pio.compilers.find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"tinyodl\[compiler\]"):
        UnicornBoard(nrf, elf)


def test_the_counter_is_built_by_zig_where_there_is_no_other_compiler(
    monkeypatch: pytest.MonkeyPatch, build: Build, nrf: Board, tmp_path: Path
) -> None:
    if find_spec("ziglang") is None:
        if os.environ.get("CI"):
            pytest.fail("ziglang is not installed; CI must run every test")
        pytest.skip("ziglang is not installed")
    elf = build("loops", nrf)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with UnicornBoard(nrf, elf) as board:
        assert board.counters()["forward"].instructions == 3002
    assert [file.suffix for file in (tmp_path / "cache" / "tinyodl").iterdir()] == [".so"]


def test_the_counter_is_built_once(
    monkeypatch: pytest.MonkeyPatch, build: Build, nrf: Board, tmp_path: Path
) -> None:
    elf = build("loops", nrf)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    UnicornBoard(nrf, elf).close()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tinyodl.pio.compilers.find_spec", lambda name: None)
    UnicornBoard(nrf, elf).close()
