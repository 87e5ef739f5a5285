"""The echo firmware of every board, by both compilers, each built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds import build
from tests.conftest import require_tool
from tests.ports.projects import write_project
from tinyodl.pio import Build
from tinyodl.targets.boards import load_board

Builder = Callable[[str, str], Build]


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """echo(board, compiler): the build; compiler is "gcc" or "zig"."""
    done: dict[tuple[str, str], Build] = {}

    def get(board: str, compiler: str) -> Build:
        if compiler == "gcc":
            require_tool("arm-none-eabi-gcc")
        if (board, compiler) not in done:
            project = write_project(tmp_path_factory.mktemp(f"{board}-{compiler}"), board)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TINYODL_COMPILER", compiler)
                done[board, compiler] = build(project, load_board(board))
        return done[board, compiler]

    return get


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory of the test's own."""
    return tmp_path
