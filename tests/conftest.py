"""What tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from tests import objects
from tests.projects import (  # noqa: F401 (fixtures)
    regression,
    regression_built,
    watch_host,
    watch_host_built,
    watch_nrf,
    watch_nrf_built,
)
from tinyodl.files.folders import cache_directory
from tinyodl.host_run import library

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")

# What is built in tests is recorded for them alone, and not with what the user has built.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tinyodl-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# Zig compiles its run-time library once for each target (10 s), whatever folders a test works in.
for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
    os.environ.setdefault(name, str(cache_directory() / "zig"))

# Networks in this process that are the same are compiled once.
library._compiled = objects.networks_once(library._compiled)


@pytest.fixture(scope="session", autouse=True)
def signals_arrive() -> None:
    """What a shell starts in the background ignores Ctrl-C, what nohup starts ignores SIGHUP.

    So would the programs that are started here, and some tests send them these signals.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def require_tool(name: str) -> str:
    """The path of a program. Missing, it skips the test, or fails it where env CI is set."""
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"{name} is not installed"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI must run every test")
    pytest.skip(reason)
