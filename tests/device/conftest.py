"""The builds of the test bench, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.device import bench


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server with the softmax regression of 4 inputs."""
    return bench.build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def wide_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server with 200 inputs: a sample takes two WRITEs."""
    return bench.build_library(tmp_path_factory.mktemp("wide"), "-DFAKE_INPUTS=200")


@pytest.fixture(scope="session")
def mse_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server with a linear regression: the target is a vector."""
    return bench.build_library(tmp_path_factory.mktemp("mse"), "-DFAKE_MSE")


@pytest.fixture(scope="session")
def int8_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server whose input is int8."""
    return bench.build_library(tmp_path_factory.mktemp("int8"), "-DFAKE_INT8")


@pytest.fixture(scope="session")
def by_rows_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server that works on a sample of 40 rows as they arrive; it takes two WRITEs."""
    return bench.build_library(
        tmp_path_factory.mktemp("by_rows"), "-DFAKE_BY_ROWS", "-DFAKE_INPUTS=40"
    )


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host build of a project, as a user would have it."""
    project = bench.write_project(tmp_path_factory.mktemp("project"))
    return bench.build_program(project, project / "program")


@pytest.fixture
def server(library: Path) -> bench.Server:
    """A board that has just got power, with an erased store."""
    return bench.Server(library)
