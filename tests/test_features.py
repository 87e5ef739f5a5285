"""A feature is a folder and a line: without them everything else works, and makes the same C."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinyodl.codegen.steps import SLOTS
from tinyodl.learning.beside import FOLDER, NAMES, features
from tinyodl.ops.shared.step import FLASH_HEADER
from tinyodl.resources import EXAMPLES, TEMPLATES

ROOT = Path(__file__).parent.parent
WATCH = EXAMPLES / "watch" / "watch_cnn_c7.onnx"

# Plans of which each has features that others have not.
PLANS: dict[str, dict[str, object]] = {
    "none": {},
    "cache": {"learner": "transfer", "cache": 20},
    "cache in flash": {"learner": "transfer", "cache": 20, "cache_memory": "flash"},
    "query": {"learner": "rls", "query": "auto"},
    "drift": {"learner": "online", "drift": True},
    "guard": {"guard": "20:0.1"},
    "guard in flash": {"learner": "rls", "guard": "20", "guard_memory": "flash"},
    "counts": {"metrics": True, "max_classes": 9, "learner": "online"},
}

# Imports every module, compiles the plans, and prints a line for each: its C as a hash, or why not.
SCRIPT = """
import hashlib, importlib, json, pkgutil, sys, tempfile
from pathlib import Path
import tinyodl
from tinyodl.errors import TinyodlError
model, plans = Path(sys.argv[1]), json.loads(sys.argv[2])
for found in pkgutil.walk_packages(tinyodl.__path__, "tinyodl."):
    if not found.name.endswith(("__main__", "standin_builder")):  # the latter is SCons' own
        importlib.import_module(found.name)
for name, options in plans.items():
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "p"
        try:
            tinyodl.compile(model, "host", out, **options)
        except TinyodlError as error:
            print(name, "refused", str(error).splitlines()[0], sep="\\t")
            continue
        found = hashlib.sha256()
        for path in sorted((out / "lib" / "net").iterdir()):
            found.update(path.name.encode() + path.read_bytes())
        print(name, "made", found.hexdigest(), sep="\\t")
"""


def run(package: Path) -> dict[str, tuple[str, str]]:
    """What the script says of each plan, with the package in this folder."""
    command = [sys.executable, "-c", SCRIPT, str(WATCH), json.dumps(PLANS)]
    environment = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, cwd=package)
    assert done.returncode == 0, done.stderr
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return {name: (what, text) for name, what, text in lines}


def copied(folder: Path) -> Path:
    """The package with its templates, boards and examples, as in a checkout."""
    for name in ("tinyodl", "templates", "boards"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    return run(copied(tmp_path_factory.mktemp("whole")))


def test_each_plan_compiles(whole: dict[str, tuple[str, str]]) -> None:
    assert {what for what, _ in whole.values()} == {"made"}
    assert len({text for _, text in whole.values()}) == len(PLANS)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_feature_all_others_are_as_before(
    whole: dict[str, tuple[str, str]], tmp_path: Path, name: str
) -> None:
    package = copied(tmp_path / "without")
    beside = package / "tinyodl" / "learning" / "beside"
    shutil.rmtree(beside / name)
    listed = beside / "__init__.py"
    text, removed = re.subn(rf'^    "{name}",\n', "", listed.read_text("utf-8"), flags=re.MULTILINE)
    assert removed == 1
    listed.write_text(text, "utf-8")
    found = run(package)
    for plan, said in found.items():
        if plan.startswith(name):
            assert said[0] == "refused", plan
        else:
            assert said == whole[plan], plan


def test_every_template_of_a_feature_fills_a_slot_that_is_there() -> None:
    rendered = "".join(path.read_text("utf-8") for path in TEMPLATES.glob("net/*.j2"))
    rendered += "".join(path.read_text("utf-8") for path in FOLDER.glob("*/c/*.j2"))
    for slot in SLOTS:
        assert f"slots.{slot} %}}" in rendered, slot
    assert {path.stem for path in FOLDER.glob("*/c/*.j2")} == set(SLOTS)


def test_every_folder_is_listed() -> None:
    folders = {found.name for found in pkgutil.iter_modules([str(FOLDER)]) if found.ispkg}
    assert folders == set(NAMES) == {feature.name for feature in features()}


def test_the_header_of_a_region_of_flash_is_as_long_as_in_c() -> None:
    text = (TEMPLATES / "kernels" / "flash.h").read_text("utf-8")
    assert f"FLASH_HEADER = {FLASH_HEADER} " in text
