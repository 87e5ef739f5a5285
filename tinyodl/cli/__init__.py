"""The command line. One module a command: options and printing, the work is done elsewhere."""

from tinyodl.cli.main import main

__all__ = ["main"]
