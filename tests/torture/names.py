"""Names that do harm wherever they are written down.

Each trial draws names for all that has one in an ONNX file, and for the file, and looks at one
place that they come to: generated C, which must have nothing of them but comments and identifiers,
and build without a warning; the plan file, which must read back; the terminal, the JSON object and
the page, on which they must be text.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from click.testing import CliRunner

from tests import hostile
from tinyodl.cli.main import tinyodl as commands
from tinyodl.compiler import compile_model
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.project.plan_file import load_plan
from tinyodl.targets.firmware import C_FLAGS

WHAT = (
    "hostile names in ONNX files and of files: in C, plans, terminals and pages they are only text"
)


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    source = random.Random(seed)
    places: tuple[tuple[str, Callable[[Path, Path], str | None]], ...] = (
        ("names in generated C", _c),
        ("names in a plan file", _plan),
        ("names on a terminal and in JSON", _terminal),
        ("names on a page", _page),
    )
    for row, look in itertools.cycle(places):
        with tempfile.TemporaryDirectory() as folder:
            named = hostile.distinct(source)
            name = hostile.file_name(next(named))
            path = hostile.chain(Path(folder) / f"{name}.onnx", named, layers=source.randint(1, 6))
            try:
                wrong = look(path, Path(folder) / "made")
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}"
            yield row, None if wrong is None else f"{wrong} (file {name!r})"


def _c(path: Path, out: Path) -> str | None:
    compile_model(path, "host", out, update="full")
    for file in sorted((out / "lib/net").iterdir()):
        code = re.sub(r"/\*.*?\*/", " ", file.read_text("utf-8"), flags=re.DOTALL)
        if hostile.MARK in re.sub(r"\b[tn]_\w+", "", code):
            return f"{file.name} has code from a name"
    for source in ("net.c", "weights.c"):
        command = [*find_host_compiler(), *C_FLAGS, "-Wall", "-Wextra", "-Werror", "-O0"]
        command += ["-fsyntax-only", "-Ilib/net", "-Ilib/device", f"lib/net/{source}"]
        done = subprocess.run(command, cwd=out, capture_output=True, text=True)
        if done.returncode:
            return done.stderr[:300]
    return None


def _plan(path: Path, out: Path) -> str | None:
    manifest = compile_model(path, "host", out, update="full")
    return (
        None if load_plan(out / "plan.toml") == manifest.plan else "it reads back as another plan"
    )


def _terminal(path: Path, out: Path) -> str | None:
    arguments = ["plan", str(path), "--board", "host", "--update", "full"]
    done = CliRunner().invoke(commands, arguments)
    if done.exit_code:
        return f"exit code {done.exit_code}: {done.output[-300:]}"
    if not re.sub(r"[\n\t]", "", done.output).isprintable():
        return "the terminal is sent control characters"
    json.loads(CliRunner().invoke(commands, [*arguments, "--json"]).stdout)
    return None


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.found.update(f"@{name}" for name, _ in attrs if name.startswith("on"))


def _page(path: Path, out: Path) -> str | None:
    page = out.with_suffix(".html")
    arguments = ["plan", str(path), "--board", "host", "--html", str(page)]
    done = CliRunner().invoke(commands, arguments)
    if done.exit_code:
        return f"exit code {done.exit_code}: {done.output[-300:]}"
    text, parser = page.read_text("utf-8"), _Tags()
    parser.feed(text)
    foreign = parser.found & {"script", "b", "@onload", "@onerror", "iframe", "img"}
    if foreign:
        return f"the page has {', '.join(sorted(foreign))}"
    shown = re.sub(r"[\n\t]", "", text)
    return None if shown.isprintable() else "the page has control characters"
