"""Finding compilers, and what is said when there are none."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tinyodl.errors import ToolError, UserError
from tinyodl.pio import compilers, doctor, find_arm_compiler, find_host_compiler
from tinyodl.pio.zig_as_gcc import arguments


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_ziglang(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleSpec | None:
        assert name == "ziglang"
        return None

    monkeypatch.setattr(compilers, "find_spec", absent)


def test_gcc_on_path_comes_first() -> None:
    path = require_tool("arm-none-eabi-gcc")
    found = find_arm_compiler()
    assert found.name == "gcc"
    assert found.command == (path,)
    assert found.version[0].isdigit()
    assert found.title.startswith("arm-none-eabi-gcc ")


@pytest.mark.usefixtures("no_programs")
def test_ziglang_stands_in_for_a_missing_gcc() -> None:
    found = find_arm_compiler()
    assert found.name == "zig"
    assert found.command[0] == sys.executable
    assert found.title.startswith("zig cc 0.")


def test_the_environment_picks_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYODL_COMPILER", "zig")
    assert find_arm_compiler().name == "zig"
    assert find_host_compiler()[-1] == "cc" and "ziglang" in find_host_compiler()


@pytest.mark.usefixtures("no_programs", "no_ziglang")
def test_no_compiler_at_all_is_said_with_both_remedies() -> None:
    with pytest.raises(ToolError, match=r"tinyodl\[compiler\].*gcc-arm-none-eabi"):
        find_arm_compiler()
    with pytest.raises(ToolError, match=r"tinyodl\[compiler\]"):
        find_host_compiler()


@pytest.mark.usefixtures("no_programs")
def test_the_compiler_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYODL_COMPILER", "gcc")
    with pytest.raises(ToolError, match="TINYODL_COMPILER=gcc, but arm-none-eabi-gcc is not on"):
        find_arm_compiler()


def test_an_unknown_compiler_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYODL_COMPILER", "icc")
    for find in (find_arm_compiler, find_host_compiler):
        with pytest.raises(UserError, match="icc: unknown compiler; say gcc or zig"):
            find()


def test_a_gcc_that_does_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "arm-none-eabi-gcc"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ToolError, match=f"{broken} does not run"):
        find_arm_compiler()


def test_the_host_compiler_makes_programs_that_run(tmp_path: Path) -> None:
    source, program = tmp_path / "seven.c", tmp_path / "seven"
    source.write_text("int main(void) { return 7; }\n")
    subprocess.run([*find_host_compiler(), str(source), "-o", str(program)], check=True)
    assert subprocess.run([program], check=False).returncode == 7


def test_zig_is_given_what_clang_understands() -> None:
    compile_c = ["-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-O2"]
    given = arguments([*compile_c, "-Wall", "-c", "-o", "a.o", "a.c"])
    assert given[:3] == ["cc", "-target", "thumb-freestanding-eabihf"]
    assert "-mcpu=cortex_m4+vfp4d16sp" in given
    assert given[-6:] == ["-Os", "-Wall", "-c", "-o", "a.o", "a.c"]
    assert arguments(["-mcpu=cortex-m0plus", "-mfloat-abi=soft"])[1:4] == [
        "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0plus"
    ]  # fmt: skip
    link = ["-nostartfiles", "-nostdlib", "-Wl,--gc-sections,--relax", "-T", "link.ld", "-lgcc"]
    assert arguments(link)[-3:] == ["-Wl,--gc-sections", "-T", "link.ld"]


def test_the_doctor_finds_what_this_test_runs_on() -> None:
    found = {check.name: check for check in doctor()}
    assert found["python"].found == ".".join(map(str, sys.version_info[:3]))
    for name in ("platformio", "scons", "ziglang", "unicorn", "compiler for boards"):
        assert found[name].found
    assert all(check.remedy for check in found.values() if not check.found)


@pytest.mark.usefixtures("no_programs", "no_ziglang")
def test_the_doctor_names_what_is_missing_and_how_to_get_it() -> None:
    found = {check.name: check for check in doctor()}
    missing = found["compiler for boards"]
    assert missing.found == "" and missing.needed
    assert "tinyodl[compiler]" in missing.remedy and "gcc-arm-none-eabi" in missing.remedy
    assert found["compiler for this computer"].found == ""
    assert not found["qemu-system-arm"].needed
