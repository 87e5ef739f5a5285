"""The `tinyodl` command: its subcommands, and how failures are told."""

from __future__ import annotations

import errno
import sys
from typing import Any

import rich_click as click
from click.exceptions import Exit

from tinyodl import __version__
from tinyodl.cli.boards import boards
from tinyodl.cli.compile import compile_command
from tinyodl.cli.compile_options import option_groups
from tinyodl.cli.demo import demo
from tinyodl.cli.doctor import doctor
from tinyodl.cli.evaluate import evaluate
from tinyodl.cli.export import export
from tinyodl.cli.flash import flash
from tinyodl.cli.init import init
from tinyodl.cli.plan import plan
from tinyodl.cli.profile import profile
from tinyodl.cli.rehearse import rehearse_command
from tinyodl.cli.report import report
from tinyodl.cli.stream_train import stream_train
from tinyodl.errors import TinyodlError
from tinyodl.interrupt import ending, exit_code
from tinyodl.text import printable

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

click.rich_click.SHOW_ARGUMENTS = True
click.rich_click.MAX_WIDTH = 100
click.rich_click.COMMAND_GROUPS = {
    "tinyodl": [
        {"name": "From a model to a board that learns",
         "commands": ["compile", "flash", "stream-train", "evaluate", "report", "export"]},
        {"name": "Looking around",
         "commands": ["rehearse", "plan", "init", "profile", "boards", "doctor", "demo"]},
    ]
}  # fmt: skip
click.rich_click.OPTION_GROUPS = {
    f"tinyodl {name}": option_groups() for name in ("compile", "plan")
}


class _Tinyodl(click.RichGroup):
    """Prints failures as one sentence and sets the exit code; --debug shows the traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise Exit(exit_code(error)) from error

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TinyodlError as error:
            if context.params["debug"]:
                raise
            click.echo(f"Error: {printable(str(error))}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt as error:
            click.echo("Interrupted", err=True)
            context.exit(exit_code(error))
        except (click.ClickException, Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if context.params["debug"]:
                raise
            if isinstance(error, OSError) and error.errno in _FULL:
                said = f"{error.filename or 'a file'} cannot be written: {error.strerror}"
            else:
                said = (
                    f"{type(error).__name__}: {error} (a fault of tinyodl; "
                    "`tinyodl --debug ...` shows where)"
                )
            click.echo(f"Error: {printable(said)}", err=True)
            context.exit(1)


@click.group(cls=_Tinyodl, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="tinyodl")
def tinyodl(debug: bool) -> None:
    """An ONNX file goes in, firmware that keeps learning on a microcontroller comes out."""


for command in (
    compile_command, rehearse_command, plan, init, flash, stream_train, evaluate, report, export,
    profile, boards, doctor, demo,
):  # fmt: skip
    tinyodl.add_command(command)


def main() -> None:
    """Run the command line.

    It exits with 0, 1 (a tool or board failed), 2 (the input is wrong), or 128 and the number of
    the signal that ended it: 130 for Ctrl-C, 143 for SIGTERM.
    """
    with ending():
        sys.exit(tinyodl(prog_name="tinyodl"))
