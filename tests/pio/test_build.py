"""Building and uploading through PlatformIO where its registry cannot be reached."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from tests.conftest import require_tool
from tests.ports.projects import write_project
from tinyodl.errors import ToolError
from tinyodl.pio import Build, build, measure, upload
from tinyodl.pio.standins import core_files
from tinyodl.targets.boards import load_board

BOARD = load_board("nrf52840_dk")
MINIMAL = '#include "port.h"\n\nint main(void)\n{\n    port_init();\n    for (;;) {\n    }\n}\n'


def fake_program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    require_tool("arm-none-eabi-gcc")
    return write_project(tmp_path / "project", BOARD.name, MINIMAL)


@pytest.mark.usefixtures("own_cache")
def test_a_build_says_what_it_came_to_and_how_it_goes(project: Path) -> None:
    lines: list[str] = []
    built = build(project, BOARD, progress=lines.append)
    assert built.elf == project / ".pio" / "build" / BOARD.name / "firmware.elf"
    assert built.compiler.startswith("arm-none-eabi-gcc ")
    assert 1000 < built.flash_bytes < 10_000
    assert built.stack_bytes == 2048
    assert built.ram_bytes == built.data_bytes + built.bss_bytes + 2048
    assert {symbol.name for symbol in built.ram} == {"ring", "port_fault_record"}
    assert any("Compiling" in line and "startup" in line for line in lines)


@pytest.mark.usefixtures("own_cache")
def test_sizes_are_those_of_binutils(project: Path) -> None:
    built = build(project, BOARD)
    tool = require_tool("arm-none-eabi-size")
    answer = subprocess.run([tool, str(built.elf)], capture_output=True, text=True, check=True)
    text, data, bss = map(int, answer.stdout.splitlines()[1].split()[:3])
    assert built.flash_bytes == text + data
    assert built.data_bytes == data
    assert built.bss_bytes + built.stack_bytes == bss


@pytest.mark.usefixtures("own_cache")
def test_an_error_in_the_code_is_shown_with_its_place(project: Path) -> None:
    (project / "src" / "main.c").write_text("int main(void)\n{\n    return unknown_name;\n}\n")
    with pytest.raises(ToolError, match=r"main\.c:3:12: error: 'unknown_name' undeclared"):
        build(project, BOARD)


@pytest.mark.usefixtures("own_cache")
def test_a_warning_is_an_error(project: Path) -> None:
    (project / "src" / "main.c").write_text(
        "int main(void)\n{\n    int unused;\n    return 0;\n}\n"
    )
    with pytest.raises(ToolError, match="unused variable"):
        build(project, BOARD)


@pytest.mark.usefixtures("own_cache")
def test_too_much_ram_is_an_error_that_names_the_region(project: Path) -> None:
    main = MINIMAL.replace("int main", "volatile char big[300000];\n\nint main")
    (project / "src" / "main.c").write_text(main.replace("for (;;)", "for (big[0] = 1;;)"))
    with pytest.raises(ToolError, match=r"RAM.*overflowed"):
        build(project, BOARD)


@pytest.mark.usefixtures("own_cache")
def test_an_unchanged_project_is_not_compiled_again(project: Path) -> None:
    build(project, BOARD)
    lines: list[str] = []
    build(project, BOARD, progress=lines.append)
    assert not any("Compiling" in line for line in lines)


@pytest.mark.usefixtures("own_cache")
def test_a_directory_with_a_space_in_its_name_builds(project: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "my watch"
    project.rename(spaced)
    assert build(spaced, BOARD).elf.is_file()


def test_builds_at_once_do_not_disturb_each_other(own_cache: Path, tmp_path: Path) -> None:
    """Also the first ones of all, which make the core directory."""
    require_tool("arm-none-eabi-gcc")
    names = ["nrf52840_dk", "netduinoplus2", "nucleo_f446re"]
    done: dict[str, Build] = {}

    def make(name: str) -> None:
        done[name] = build(write_project(tmp_path / name, name, MINIMAL), load_board(name))

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(done) == set(names)


def test_variables_for_another_project_do_not_move_the_firmware(
    own_cache: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORMIO_BUILD_DIR", str(tmp_path / "elsewhere"))
    assert build(project, BOARD).elf.is_file()
    assert not (tmp_path / "elsewhere").exists()


# The user's own PlatformIO


def install(core: Path, files: dict[str, bytes]) -> None:
    """A core directory of a user's, as after a build with the network."""
    for name, content in files.items():
        (core / name).parent.mkdir(parents=True, exist_ok=True)
        (core / name).write_bytes(content)


def test_the_users_platformio_is_used_where_nothing_is_missing(
    own_cache: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "core", core_files())
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    assert build(project, BOARD).compiler == "PlatformIO's toolchain-gccarmnoneeabi"
    assert not (own_cache / "tinyodl" / "platformio").exists()


def test_the_users_platformio_is_left_alone_where_something_is_missing(
    own_cache: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = tmp_path / "core"
    install(core, {n: c for n, c in core_files().items() if "tool-scons" not in n})
    before = {path: path.read_bytes() for path in core.rglob("*") if path.is_file()}
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(core))
    assert build(project, BOARD).compiler.startswith("arm-none-eabi-gcc ")
    after = {path: path.read_bytes() for path in core.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


def test_a_compiler_asked_for_is_used_whatever_the_user_has(
    own_cache: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "core", core_files())
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    monkeypatch.setenv("TINYODL_COMPILER", "zig")
    assert build(project, BOARD).compiler.startswith("zig cc ")


# Uploading


@pytest.fixture
def uploaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with the compiler and what a test puts into this folder, and no other uploader."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("arm-none-eabi-gcc", "sh"):
        (folder / name).symlink_to(require_tool(name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("tinyodl.pio.uploaders.find_spec", lambda name: None)
    return folder


def logging_program(folder: Path, name: str) -> Path:
    """A program that writes its arguments to a file, a line each; the file."""
    log = folder / f"{name}.log"
    fake_program(folder, name, f'for a in "$@"; do echo "$a"; done > "{log}"')
    return log


@pytest.mark.usefixtures("own_cache")
def test_uploading_through_a_probe_uses_openocd(uploaders: Path, project: Path) -> None:
    log = logging_program(uploaders, "openocd")
    upload(project, BOARD)
    arguments = log.read_text().splitlines()
    assert arguments[:2] == ["-f", "interface/jlink.cfg"]
    assert "target/nrf52.cfg" in arguments
    elf = project / ".pio" / "build" / BOARD.name / "firmware.elf"
    assert arguments[-1] == f"program {{{elf}}} verify reset exit"
    assert elf.is_file()


@pytest.mark.usefixtures("own_cache")
def test_uploading_through_a_boot_loader_writes_the_raw_image(
    uploaders: Path, tmp_path: Path
) -> None:
    log = logging_program(uploaders, "dfu-util")
    board = load_board("netduinoplus2")
    project = write_project(tmp_path / "project", board.name, MINIMAL)
    upload(project, board)
    arguments = log.read_text().splitlines()
    assert arguments[:5] == ["-a", "0", "-s", "0x8000000:leave", "-D"]
    image = Path(arguments[5]).read_bytes()
    assert len(image) == measure(project / ".pio/build/netduinoplus2/firmware.elf", "").flash_bytes
    assert int.from_bytes(image[:4], "little") == board.ram.origin + 2048, "the initial stack"


@pytest.mark.usefixtures("own_cache")
def test_a_boot_loader_is_found_by_its_usb_ids_and_not_at_the_serial_link(
    uploaders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging_program(uploaders, "bossac")
    board = load_board("nano33ble")
    project = write_project(tmp_path / "project", board.name, MINIMAL)
    plugged = [usb_serial("/dev/ttyUSB0", 0x0403, 0x6001)]
    monkeypatch.setattr("tinyodl.pio.uploaders.comports", lambda: plugged)
    with pytest.raises(ToolError, match=r"no boot loader found.*2341:005a.*double-tap"):
        upload(project, board, "/dev/ttyUSB0")
    plugged.append(usb_serial("/dev/ttyACM0", 0x2341, 0x005A))
    upload(project, board, "/dev/ttyUSB0")
    assert log.read_text().splitlines()[:2] == ["--port", "ttyACM0"]
    plugged.append(usb_serial("/dev/ttyACM1", 0x2341, 0x805A))
    with pytest.raises(ToolError, match=r"several boot loaders.*/dev/ttyACM0, /dev/ttyACM1"):
        upload(project, board, "/dev/ttyUSB0")


def usb_serial(device: str, vendor: int, product: int) -> ListPortInfo:
    info = ListPortInfo(device)
    info.vid, info.pid = vendor, product
    return info


@pytest.mark.usefixtures("own_cache", "uploaders")
def test_no_uploader_is_said_with_what_to_install(project: Path) -> None:
    with pytest.raises(ToolError, match=r"neither openocd on PATH nor pyocd.*pip install pyocd"):
        upload(project, BOARD)


@pytest.mark.usefixtures("own_cache")
def test_a_failing_uploader_is_quoted(uploaders: Path, project: Path) -> None:
    fake_program(uploaders, "openocd", "echo 'Error: no device found' >&2; exit 1")
    with pytest.raises(ToolError, match=r"could not upload to nrf52840_dk(.|\n)*no device found"):
        upload(project, BOARD)


# The host


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_the_host_builds_without_platformio(
    compiler: str, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler == "gcc":
        require_tool("cc")
    monkeypatch.setenv("TINYODL_COMPILER", compiler)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "main.c").write_text("int main(void) { return 42; }\n")
    built = build(project, load_board("host"))
    assert built.elf == project / ".pio" / "build" / "host" / "firmware.elf"
    assert subprocess.run([built.elf], check=False).returncode == 42
    assert not (own_cache / "tinyodl" / "platformio").exists()


def test_an_error_on_the_host_leaves_the_last_good_program(tmp_path: Path) -> None:
    require_tool("cc")
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    main = project / "src" / "main.c"
    main.write_text("int main(void) { return 42; }\n")
    elf = build(project, load_board("host")).elf
    main.write_text("int main(void) { return what; }\n")
    with pytest.raises(ToolError, match=r"main\.c:1:\d+: error"):
        build(project, load_board("host"))
    assert os.listdir(elf.parent) == ["firmware.elf"]  # noqa: PTH208
    assert subprocess.run([elf], check=False).returncode == 42


def test_nothing_is_uploaded_to_the_host(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="host is this computer"):
        upload(tmp_path, load_board("host"))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "firmware.elf"
    path.write_bytes(b"not an ELF file")
    with pytest.raises(ToolError, match=r"firmware\.elf: not a firmware image"):
        measure(path, "")
