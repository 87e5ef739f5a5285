"""The one exception family: every message names the thing, what was found, and what to do."""

from __future__ import annotations


class TinyodlError(Exception):
    """Base of everything tinyodl raises on purpose; printed without a traceback."""

    exit_code = 1


class UserError(TinyodlError):
    """The input (a file, an option, data) cannot be used as it is. Exit code 2."""

    exit_code = 2


class ModelError(UserError):
    """The ONNX file is missing, broken, or uses something tinyodl does not support."""


class DataError(UserError):
    """Samples or labels that do not fit the model."""


class DoesNotFitError(UserError):
    """The training firmware needs more memory than the board or the user's budget has."""


class ToolError(TinyodlError):
    """A compiler, PlatformIO or an emulator is missing or failed. Exit code 1."""


class BoardError(TinyodlError):
    """A board is silent, runs other firmware, or answered with an error. Exit code 1."""


class LineLostError(BoardError):
    """The line to a board is gone, or nothing intact comes over it any more. Exit code 1.

    Raised by a transport when its line has gone (unplugged, closed, the emulator has ended), and by
    the client when a request has found no answer for as long as its patience lasts. The board may
    have carried out that last request. What it has learned is still there unless it lost its power:
    open the line again, say HELLO, and compare `steps`.
    """


class InUseError(TinyodlError):
    """Another process, or another session of this one, has the project or board. Exit code 1."""
