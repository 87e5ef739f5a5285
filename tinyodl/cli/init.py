"""tinyodl init."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinyodl.cli.options import type_path


@click.command("init")
@click.argument("folder", metavar="[MODEL.onnx|DIR]", type=type_path, default=".")
@click.option("--schema", is_flag=True, help="Print the file's JSON schema; nothing is written.")
def init(folder: Path, schema: bool) -> None:
    """Write a tinyodl.toml beside a model: every option, with its help, to be edited.

    `tinyodl compile` and `tinyodl plan` read it from the model's folder. A file that is there
    already stays as it is.
    """
    import json

    from tinyodl.cli.output import Output
    from tinyodl.errors import UserError
    from tinyodl.files.whole_files import write_whole
    from tinyodl.project.config import FILE_NAME
    from tinyodl.project.template import config_schema, config_template

    printer = Output()
    if schema:
        click.echo(json.dumps(config_schema(), indent=1))
        return
    if not folder.exists():
        raise UserError(f"{folder}: there is no such model or folder")
    path = (folder if folder.is_dir() else folder.parent) / FILE_NAME
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} is there already; edit it, or move it away first")
    try:
        write_whole(path, config_template())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    printer.tell(f"Written: {path}. Take the # away before the options that you want.")
