"""Writes a report's files: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from tinyodl.errors import TinyodlError
from tinyodl.files.whole_files import write_whole


def write_output(path: Path, text: str, what: str) -> None:
    """Write a file and the folders above it. Raises TinyodlError that names the file's purpose."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise TinyodlError(
            f"{path}: {what} cannot be written: {error.strerror or error}"
        ) from error
