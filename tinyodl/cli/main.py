"""The `tinyodl` command: its subcommands, and how failures are told."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click
from click.exceptions import Exit

from tinyodl import __version__
from tinyodl.cli.boards import boards
from tinyodl.cli.compile import compile_command
from tinyodl.cli.demo import demo
from tinyodl.cli.doctor import doctor
from tinyodl.cli.evaluate import evaluate
from tinyodl.cli.export import export
from tinyodl.cli.flash import flash
from tinyodl.cli.plan import plan
from tinyodl.cli.profile import profile
from tinyodl.cli.report import report
from tinyodl.cli.stream_train import stream_train
from tinyodl.errors import TinyodlError
from tinyodl.text import printable

click.rich_click.SHOW_ARGUMENTS = True
click.rich_click.MAX_WIDTH = 100
click.rich_click.COMMAND_GROUPS = {
    "tinyodl": [
        {"name": "From a model to a board that learns",
         "commands": ["compile", "flash", "stream-train", "evaluate", "report", "export"]},
        {"name": "Looking around", "commands": ["plan", "profile", "boards", "doctor", "demo"]},
    ]
}  # fmt: skip


class _Tinyodl(click.RichGroup):
    """Prints failures as one sentence and sets the exit code; --debug shows the traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TinyodlError as error:
            if context.params["debug"]:
                raise
            click.echo(f"Error: {printable(str(error))}", err=True)
            context.exit(error.exit_code)
        except (click.ClickException, Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if context.params["debug"]:
                raise
            click.echo(
                f"Error: {type(error).__name__}: {printable(str(error))} (a fault of tinyodl; "
                "`tinyodl --debug ...` shows where)",
                err=True,
            )
            context.exit(1)


@click.group(cls=_Tinyodl, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="tinyodl")
def tinyodl(debug: bool) -> None:
    """An ONNX file goes in, firmware that keeps learning on a microcontroller comes out."""


for command in (
    compile_command, plan, flash, stream_train, evaluate, report, export, profile, boards, doctor,
    demo,
):  # fmt: skip
    tinyodl.add_command(command)


def main() -> None:
    """Run the command line; exits with 0, 1 (a tool or board failed) or 2 (the input is wrong)."""
    sys.exit(tinyodl(prog_name="tinyodl"))
