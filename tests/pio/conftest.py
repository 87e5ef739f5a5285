"""A cache directory and a home of the tests' own, so that no user's files are read or written."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, but for Zig's, which all tests share."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks PlatformIO's registry here finds nobody, and fails the test by its error."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def no_platformio_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PlatformIO finds a core directory with nothing in it."""
    for name in ("PLATFORMIO_CORE_DIR", "PLATFORMIO_HOME_DIR", "TINYODL_COMPILER"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
