"""The options of `compile`, `plan` and `init`: made from `tinyodl.project.options`, in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinyodl.cli.options import type_path
from tinyodl.errors import UserError
from tinyodl.project.option import Option
from tinyodl.project.options import (
    OFTEN,
    OPTIONS,
    WITH_UNIT,
    choices_of,
    default_text,
    fills_the_plan,
    kind_of,
)

if TYPE_CHECKING:
    from tinyodl.cli.output import Output

_FILE = "The file of options, tinyodl.toml"
_SHORT = {"out": "-o"}


def compile_options(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: all options of compilation but these, and those of the file of options."""
    named = [option for option in OPTIONS.values() if option.on_the_line]
    made = [
        *(click_option(option) for option in named if option.name not in without),
        _config,
        _without,
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(made):
            function = option(function)
        return function

    return decorate


def option_groups() -> list[Any]:
    """How the help groups them, for rich-click."""
    often = sorted((option for option in OPTIONS.values() if option.often), key=lambda o: o.often)
    groups = {OFTEN: [option.on_the_line for option in often]}
    for option in OPTIONS.values():
        if option.on_the_line and not option.often:
            groups.setdefault(option.group, []).append(option.on_the_line)
    groups[_FILE] = ["--config", "--without"]
    groups["What is told"] = ["--html", "--json", "--help"]
    return [{"name": name, "options": options} for name, options in groups.items()]


def _word(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """One of an option's words, which are loaded when a value is there."""
    if text is not None and text not in (words := choices_of(OPTIONS[str(parameter.name)])):
        raise click.BadParameter(f"{text!r} is not one of {', '.join(map(repr, words))}.")
    return text


def _quantity(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else WITH_UNIT[kind_of(OPTIONS[str(option.name)])](text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def click_option(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option as click declares it."""
    kind, default = kind_of(option), default_text(option)
    flags = [_SHORT[option.name]] if option.name in _SHORT else []
    flags += [option.on_the_line, option.name]
    more: dict[str, Any] = {"help": option.help + (f"  [default: {default}]" if default else "")}
    if option.metavar:
        more["metavar"] = option.metavar
    if option.gives is not None:
        more["is_flag"] = True
    elif kind in WITH_UNIT:
        more["callback"] = _quantity
    elif option.words:
        more["callback"] = _word
    elif choices := choices_of(option):
        more["type"] = click.Choice(choices)
    else:
        more["type"] = type_path if kind is Path else kind
    return click.option(*flags, multiple=option.several, **more)


_config = click.option(
    "--config", metavar="FILE", type=type_path,
    help="A file with any of these options; flags win over it.  [default: tinyodl.toml beside the "
    "model, where there is one; `tinyodl init` writes it]",
)  # fmt: skip
_without = click.option(
    "--without", multiple=True, metavar="NAME",
    help="Leave out what the file says of this option, e.g. --without guard.",
)  # fmt: skip


def given_options(
    model: Path, given: Mapping[str, Any], printer: Output, needed: Sequence[str]
) -> dict[str, Any]:
    """What was given on the command line or in the file of options, as keywords of `compile`.

    Raises UserError where a needed one is missing, or the two do not go together.
    """
    from tinyodl.project.config import config_beside, read_config

    left_out = {_keyword(name) for name in given["without"]}
    flags = {
        name: value if OPTIONS[name].gives is None else OPTIONS[name].gives
        for name, value in given.items()
        if name in OPTIONS and value is not None and value is not False and value != ()
    }
    path = given["config"] or config_beside(model)
    from_file: dict[str, Any] = {}
    if path:
        read = read_config(path)
        for name in sorted(left_out - read.keys()):
            raise UserError(f"--without {name}: {path} says nothing of it; leave --without away")
        from_file = {name: read[name] for name in read if name not in {*left_out, *flags}}
        printer.tell(f"Options of {path}: {', '.join(from_file) or 'none'}")
    elif left_out:
        raise UserError("--without leaves out what a file of options says, and there is none")
    options = {**from_file, **flags}
    for name in needed:
        if name not in options:
            flag = OPTIONS[name].on_the_line
            raise UserError(f"{flag} is missing: give it, or write {name} into tinyodl.toml")
    _check_rule(options, from_file)
    return options


def _keyword(name: str) -> str:
    """An option's keyword, from that or from its flag with or without the dashes."""
    bare = name.lstrip("-")
    flags = {option.on_the_line.lstrip("-"): option.name for option in OPTIONS.values()}
    return flags.get(bare, bare.replace("-", "_"))


def _check_rule(options: Mapping[str, Any], from_file: Mapping[str, Any]) -> None:
    """Raises UserError where the rule of a plan file is given beside it."""
    from tinyodl.select import AUTO, SCHEMES

    update = options.get("update", "last")
    rule = [name for name in options if fills_the_plan(name)]
    if not rule or update in (*SCHEMES, AUTO, "device"):
        return
    words = [OPTIONS[n].on_the_line[2:].replace("-", "_") for n in rule if n not in from_file]
    if words:
        told = f"set {', '.join(words)} there instead of on the command line"
    else:
        told = f"set {', '.join(rule)} there, and not in the file of options"
    raise UserError(f"the plan file {update} has its own training rule; {told}")
