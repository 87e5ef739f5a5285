"""`plan.toml`: the plan of a project as a file that a user can read, edit and pass back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinyodl.errors import UserError
from tinyodl.learning.beside import sections
from tinyodl.learning.learners import rule_of
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.text import toml_string


def load_plan(path: Path) -> UpdatePlan:
    """Read a plan file (TOML). Raises UserError naming the file and the field at fault.

    Beside the sections that `dump_plan` writes it takes options without one, as older files have
    them: `guard = "20:0.1"`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"{path}: {reason}; give --update last, bias, full, none or a plan file"
        ) from error
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nesting beyond all measure
        raise UserError(f"{path}: not valid TOML: {error}") from error
    try:
        return UpdatePlan.model_validate(values)
    except ValidationError as error:
        place = [part for part in error.errors()[0]["loc"] if part != "beside"]
        where = ".".join(str(part) for part in place)
        raise UserError(f"{path}: {where}: {what_is_wrong(error)}") from error


def plan_of(layers: Mapping[str, Any], options: Mapping[str, Any]) -> UpdatePlan:
    """The plan for these layers, with the options that belong to a plan.

    Raises UserError that names the option at fault as it was given.
    """
    names = set(UpdatePlan.model_fields) | {o.name for s in sections().values() for o in s.OPTIONS}
    filling = {name: value for name, value in options.items() if name in names}
    try:
        return UpdatePlan.model_validate({"layers": layers, **filling})
    except ValidationError as error:
        first = error.errors()[0]
        name = _option_at(first["loc"])
        where = f"{name} = {options.get(name, first['input'])}: " if name else ""
        raise UserError(f"{where}{what_is_wrong(error)}") from error


def _option_at(place: tuple[int | str, ...]) -> str:
    """The option that fills this place in a plan; "" for the plan as a whole."""
    if place[:1] != ("beside",):
        return str(place[0]) if place else ""
    options = sections()[str(place[1])].OPTIONS
    named = [option.name for option in options if option.field in place[2:]]
    return (named or [options[0].name])[0]


def what_is_wrong(error: ValidationError) -> str:
    """The first fault in a plan's values, or the values wanted instead."""
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")


def dump_plan(plan: UpdatePlan) -> str:
    """The plan as TOML, the same text for the same plan."""
    lines = ["[rule]", *_lines(_rule(plan))]
    for name, section in plan.beside.items():
        lines += ["", f"[{name}]", *_lines(section.model_dump(exclude_none=True))]
    lines += ["", "[layers]"]
    lines += [f"{toml_string(name)} = {_toml(updates)}" for name, updates in plan.layers.items()]
    return "\n".join(lines) + "\n"


def _lines(fields: Mapping[str, object]) -> Iterator[str]:
    return (f"{name} = {_toml(value)}" for name, value in fields.items())


def _rule(plan: UpdatePlan) -> dict[str, object]:
    """The fields of the training rule that have to do with it."""
    names = ["loss", "optimizer", "learning_rate", "batch"]
    rule = rule_of(plan)
    names += [*rule.fields, *rule.variants.get(plan.optimizer, ())]
    follows = "statistics" in plan.layers.values() or plan.reconstructs
    if follows and "forgetting" not in names:
        names.append("forgetting")
    if not rule.replaces:
        names.append("bound")
    if plan.reconstructs:
        names += ["threshold", "learn_flagged"]
    names += [name for name in ("unlabelled", "seen", "weight_decay") if getattr(plan, name)]
    if plan.labels is not None:
        names.append("labels")
    if plan.outliers == "keep":
        names.append("outliers")
    if "candidate" in plan.layers.values():
        names += ["pool", "pool_inputs"]
    return {name: getattr(plan, name) for name in (*names, "master", "scaling", "seed")}


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return toml_string(value)
        case tuple():
            return str(list(value))
        case ChannelUpdate():
            return f"{{ {value.side} = {_toml(value.chosen)} }}"
        case _:
            return repr(value)
