"""What the documents say of the code, compared with the code: counts, options, paths, constants."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import click
import pytest

from tests.operators_page import PAGE
from tinyodl.cli.main import tinyodl as commands
from tinyodl.device import codes
from tinyodl.learning.beside import FOLDER
from tinyodl.ops import IMPORTERS

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *EXAMPLES,
]
EVERY = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
TEMPLATES = ROOT / "templates"
FLAGS = TEMPLATES / "kernels" / "flags.h"
COMMANDS = TEMPLATES / "device" / "commands.h"


def read(page: Path) -> str:
    return page.read_text("utf-8")


def code_spans(text: str) -> str:
    """What stands between backquotes or in blocks of code, on lines of its own."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", rest)])


class TestCounts:
    def test_operators(self):
        """Those on float32 tensors: the others are forms of them on integers."""
        real = [op for op in IMPORTERS if not op.startswith(("Q", "Dequantize"))]
        for page in ("README.md", "CHANGELOG.md"):
            [said] = re.findall(r"(\d+) ONNX operators", read(ROOT / page))
            assert int(said) == len(real), page

    def test_backend_cases(self):
        """docs/operators.md is compared with the cases themselves by tests/test_backend.py."""
        passed, excluded = re.search(
            r"\*\*(\d+) cases pass,\n(\d+) are excluded", read(PAGE)
        ).groups()
        found = re.search(r"(\d+) of the ONNX project's own backend cases; the (\d+) others",
                          read(ROOT / "README.md"))  # fmt: skip
        assert found.groups() == (passed, excluded)

    def test_commands_of_the_command_line(self):
        for page in DOCUMENTS:
            named = re.findall(r"^(?:\$ )?tinyodl ([a-z][a-z-]+)", code_spans(read(page)), re.M)
            assert set(named) <= set(commands.commands), page


@EVERY
def test_every_option_that_a_page_names_exists(page):
    known = {
        name
        for command in (commands, *commands.commands.values())
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    lines = [
        line
        for line in code_spans(read(page)).splitlines()
        if line.startswith("--") or re.match(r"(\$ )?tinyodl |  +--", line)
    ]
    named = {name for line in lines for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)}
    assert named <= known | {"--help", "--version", "--extra-index-url"}


@EVERY
def test_every_path_that_a_page_names_exists(page):
    roots = "tinyodl|templates|tests|benchmarks|boards|docs|examples"
    for name in re.findall(rf"`((?:{roots})/[\w./*-]+)`", read(page)):
        if "..." not in name:
            assert list(ROOT.glob(name.rstrip("/"))), name
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", read(page)):
        assert (page.parent / link).exists(), link


def test_every_room_is_in_the_architecture():
    page = read(ROOT / "docs" / "architecture.md")
    for path in sorted((ROOT / "tinyodl").iterdir()):
        if path.suffix == ".py" and not path.name.startswith("__"):
            named = path.name in page
        else:
            named = not (path / "__init__.py").exists() or f"tinyodl/{path.name}/" in page
        assert named, f"docs/architecture.md does not name {path.name}"


def test_the_architecture_declares_what_is_declared():
    """Functions and constants of net.h and port.h."""
    page = read(ROOT / "docs" / "architecture.md")
    for prefix, header in (("net", "net/net.h.j2"), ("port", "ports/port.h")):
        headers = [TEMPLATES / header, *FOLDER.glob("*/c/header*.j2")]
        text = " ".join(" ".join(map(read, headers)).split())
        section = page.split(f"### `lib/{prefix}/")[1].split("###")[0]
        block = re.search(r"```c\n(.*?)```", section, re.DOTALL)[1]
        said = re.findall(
            rf"^[\w *]+ \*?{prefix}_\w+\([^)]*\)|^\w.* {prefix}_\w+\[[^]]+\]", block, re.M
        )
        assert len(said) >= 10
        for declaration in said:
            assert " ".join(declaration.split()) in text, declaration


def test_a_generated_project_has_the_files_that_the_architecture_lists(watch_host):
    page = read(ROOT / "docs" / "architecture.md")
    first = page.split("## A generated project")[1].split("```")[1].split("\n")[1]
    assert {p.name for p in watch_host.iterdir() if p.is_file()} == set(first.split())


class TestProtocol:
    """docs/protocol.md, device/protocol.py and the firmware number things alike."""

    def table(self, heading: str) -> dict[str, int]:
        text = read(ROOT / "docs" / "protocol.md").split(f"| {heading} |")[1].split("\n\n")[0]
        return {
            name: int(number) for number, name in re.findall(r"^\| (\d+) \| (\w+) \|", text, re.M)
        }

    def enum(self, path: Path, prefix: str) -> dict[str, int]:
        found = re.findall(rf"\b{prefix}_(\w+) = (\w+)", read(path))
        return {name: int(number, 0) for name, number in found}

    @staticmethod
    def members(kind: type[IntEnum]) -> dict[str, int]:
        return {name: int(member) for name, member in kind.__members__.items()}

    def test_commands(self):
        assert self.table("command") == self.members(codes.Command)
        assert self.enum(COMMANDS, "COMMAND") == self.members(codes.Command)

    def test_statuses(self):
        assert self.table("status") == self.members(codes.Status)

    def test_flags_of_a_step(self):
        """One that only one side has, or numbers otherwise, would be read wrongly."""
        assert self.enum(FLAGS, "FLAG") == self.members(codes.Flag)
