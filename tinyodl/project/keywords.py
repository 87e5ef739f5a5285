"""Refuses unknown keyword arguments and names the likely intended one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

from tinyodl.errors import UserError

_P = ParamSpec("_P")
_R = TypeVar("_R")

# As the command line, or another library, calls what has another name here.
_ALSO_CALLED = {
    "lr": "learning_rate",
    "rate": "learning_rate",
    "optim": "optimizer",
    "batch_size": "batch",
    "n_classes": "classes",
    "num_classes": "classes",
    "no_check": "check",
    "no_scaling": "scaling",
    "keep_outliers": "outliers",
    "eval_data": "eval",
    "validation_data": "eval",
    "seed": "shuffle",
    "set": "settings",
    "out_dir": "out",
}


class UnknownKeywordError(UserError, TypeError):
    """A keyword argument that a function does not take; both an error of ours and a TypeError."""


def nearest(name: str, known: Collection[str]) -> str:
    """The likely intended name for an unknown one; "" if none is similar."""
    meant = _ALSO_CALLED.get(name)
    if meant in known:
        return str(meant)
    return next(iter(get_close_matches(name, known, 1, 0.5)), "")


def check_keywords(function: str, given: Collection[str], known: Collection[str]) -> None:
    """Raises UnknownKeywordError for the first of the given names that is not known."""
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"it takes {', '.join(sorted(known))}"
            raise UnknownKeywordError(f"{function} takes no option {name!r}; {hint}")


def strict(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function; for an unknown keyword its error names the likely intended one."""
    name = function.__name__
    if name == "__init__":  # as the caller calls it
        name = function.__qualname__.split(".")[-2]
    known = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.POSITIONAL_ONLY and parameter.name != "self"
    ]

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        check_keywords(f"{name}()", kwargs, known)
        return function(*args, **kwargs)

    return checked
