"""The Jinja environment that all templates are rendered with."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tinyodl.codegen.literals import (
    array_literal,
    c_type,
    dimensions,
    float_literal,
    grouped,
    initializer,
)
from tinyodl.learning.beside import FOLDER
from tinyodl.resources import TEMPLATES
from tinyodl.text import comment


@cache
def environment() -> Environment:
    """Strict: a template that names something it was not given is an error.

    Made once, because Jinja keeps the templates that it translated to Python with it; to translate
    them takes longer than all else in generating a small network.
    """
    made = Environment(
        loader=FileSystemLoader([TEMPLATES, FOLDER]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters.update(
        literal=float_literal,
        literals=array_literal,
        c_type=c_type,
        initializer=initializer,
        grouped=grouped,
        dimensions=dimensions,
        comment=comment,
    )
    return made
