"""A project from a stranger runs nothing, and touches nothing outside, before `flash` says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tinyodl
from tests.conftest import require_tool
from tests.projects import flat_model
from tinyodl import virtual
from tinyodl.errors import UserError
from tinyodl.files import built_here
from tinyodl.project import manifest
from tinyodl.targets.boards import load_board
from tinyodl.virtual import host

Command = Callable[[Path], object]


def session(project: Path) -> None:
    tinyodl.Session(project).close()


@pytest.fixture(scope="module")
def flashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flashed")
    project = folder / "flat"
    tinyodl.compile(flat_model(folder / "flat.onnx"), "host", project)
    tinyodl.flash(project)
    return project


@pytest.fixture
def project(flashed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(flashed, tmp_path / "project"))


def infect(project: Path, trace: Path) -> None:
    """Put a program that leaves a trace in the place of the built one."""
    program = project / host.PROGRAM
    program.unlink()
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)


def test_a_copy_of_what_was_built_here_runs(project: Path) -> None:
    session(project)


def test_another_program_does_not_run(project: Path, tmp_path: Path) -> None:
    infect(project, tmp_path / "trace")
    with pytest.raises(UserError, match=r"was not built on this machine.*tinyodl flash"):
        session(project)
    assert not (tmp_path / "trace").exists()


def test_a_program_of_other_sources_does_not_run(project: Path) -> None:
    main = project / "src" / "main.c"
    main.write_text(main.read_text() + "\n")
    with pytest.raises(UserError, match="from the project's sources as they are"):
        session(project)
    tinyodl.flash(project)
    session(project)


def test_nothing_in_a_project_proves_that_it_was_built_here(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    with pytest.raises(UserError, match="was not built on this machine"):
        session(project)


def test_what_was_checked_is_what_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = host.checked_program

    def then_changed(project: Path, program: Path) -> bytes:
        content = checked(project, program)
        infect(project, tmp_path / "trace")
        return content

    monkeypatch.setattr(host, "checked_program", then_changed)
    session(project)
    assert not (tmp_path / "trace").exists()
    assert not list((built_here.state_directory() / "running").iterdir())


@pytest.mark.parametrize("port", ["virtual", "qemu"])
def test_firmware_images_are_held_to_the_same(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tinyodl.compile(flat_model(tmp_path / "flat.onnx"), "netduinoplus2", tmp_path / "p")
    board = load_board("netduinoplus2")
    elf = built_here.program_path(tmp_path / "p", board)
    elf.parent.mkdir(parents=True)
    elf.write_bytes(b"\x7fELF")
    boot = {"virtual": virtual.boot, "qemu": virtual.boot_qemu}[port]
    with pytest.raises(UserError, match=r"was not built on this machine.*tinyodl flash"):
        boot(tmp_path / "p", board)


def test_qemu_runs_what_was_checked(watch_netduino: Path) -> None:
    require_tool("qemu-system-arm")
    board = manifest.board_of(manifest.load(watch_netduino))
    with virtual.boot_qemu(watch_netduino, board) as qemu:
        built_here.program_path(watch_netduino, board).write_bytes(b"changed")
        assert tinyodl.device.Client(qemu, manifest.load(watch_netduino)).hello().board


@pytest.fixture
def watch_netduino(tmp_path: Path) -> Path:
    from tests.projects import built, require_arm_compiler

    require_arm_compiler()
    return built(flat_model(tmp_path / "flat.onnx"), "netduinoplus2", tmp_path / "netduino")


@pytest.mark.parametrize("name", ["../boards/host", "{here}/mine", "host\x00", "", "."])
def test_a_board_is_a_name_that_tinyodl_knows(project: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.toml").write_text((tinyodl.targets.boards.BOARDS / "host.toml").read_text())
    path = project / manifest.FILE_NAME
    changed = json.loads(path.read_text()) | {"board": name.format(here=tmp_path)}
    path.write_text(json.dumps(changed))
    for command in (session, tinyodl.flash):
        with pytest.raises(UserError, match="is unknown; tinyodl knows host"):
            command(project)


def test_a_store_that_leads_out_of_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("precious")
    store = project / virtual.STORE_FILE
    store.unlink(missing_ok=True)
    store.symlink_to(precious)
    with pytest.raises(UserError, match=r"leads out of the project.*thesis.tex"):
        session(project)
    assert precious.read_text() == "precious"


def test_builds_that_lead_out_of_the_project_are_refused(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(project / ".pio", outside)
    (project / ".pio").symlink_to(outside)
    for command in (session, tinyodl.flash):
        with pytest.raises(UserError, match="leads out of the project"):
            command(project)


@pytest.mark.parametrize("name", [".tinyodl-ready", ".tinyodl-staged", ".tinyodl-replaced"])
def test_a_link_in_the_place_of_a_half_done_compile_takes_nothing_away(
    project: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "documents"
    outside.mkdir()
    (outside / "thesis.tex").write_text("precious")
    (project / name).symlink_to(outside)
    session(project)
    tinyodl.compile(flat_model(tmp_path / "flat.onnx", seed=1), "host", project)
    assert (outside / "thesis.tex").read_text() == "precious"


def test_a_lock_that_is_a_link_opens_nothing(project: Path, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("precious")
    (project / ".tinyodl-lock").symlink_to(precious)
    with pytest.raises(UserError, match="tinyodl-lock"):
        session(project)
    assert precious.read_text() == "precious"


def test_profile_builds_only_what_was_compiled_or_flashed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "p"
    tinyodl.compile(flat_model(tmp_path / "flat.onnx"), "nrf52840_dk", project)
    script = project / "lib" / "port" / "link.py"
    script.write_text(script.read_text() + f"\nopen({str(tmp_path / 'trace')!r}, 'w')\n")
    with pytest.raises(UserError, match=r"not compiled on this machine.*tinyodl flash"):
        tinyodl.profile(project)
    assert not (tmp_path / "trace").exists()


def test_builds_of_others_are_not_built_upon(project: Path) -> None:
    """PlatformIO reads its notes on earlier builds as Python objects: they could be anything."""
    built_here.require_known_sources(project)
    assert not (project / ".pio").exists()


def test_records_are_forgotten_in_the_end(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(built_here, "MOST_RECORDS", 4)
    for seed in range(4):
        (project / "src" / "main.c").write_text(f"// {seed}\n")
        built_here.remember_sources(project)
    built_here.require_known_sources(project)
    assert len(list((tmp_path / "state" / "tinyodl" / "built").iterdir())) <= 4


@pytest.mark.parametrize("part", ["lib/net", "lib/port", "platformio.ini", "model.onnx"])
def test_a_mixture_of_two_compiles_is_named(project: Path, tmp_path: Path, part: str) -> None:
    other = tmp_path / "other"
    tinyodl.compile(flat_model(tmp_path / "other.onnx", seed=1), "nrf52840_dk", other)
    if (other / part).is_dir():
        shutil.rmtree(project / part)
        shutil.copytree(other / part, project / part)
    else:
        shutil.copy(other / part, project / part)
    with pytest.raises(UserError, match=r"is of another compile than tinyodl\.json; compile again"):
        tinyodl.flash(project)
