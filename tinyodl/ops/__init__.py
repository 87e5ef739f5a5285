"""The operators: one module per family, found by itself, with everything of the family in it."""

import importlib
import pkgutil

from tinyodl.ops.shared import (
    IMPORTERS,
    OPERATORS,
    Argument,
    Backward,
    Call,
    Element,
    Importer,
    Learner,
    Loop,
    Operator,
    Ref,
    Struct,
    Symbol,
    behind_views,
    biases_of,
    calls_of,
    in_place_of,
    kernels_of,
    layers_of,
    output_shape,
    output_shapes,
    single_calls,
    weights_of,
)

FAMILIES = tuple(
    importlib.import_module(f"{__name__}.{found.name}")
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name)
    if not found.ispkg
)

__all__ = [
    "FAMILIES",
    "IMPORTERS",
    "OPERATORS",
    "Argument",
    "Backward",
    "Call",
    "Element",
    "Importer",
    "Learner",
    "Loop",
    "Operator",
    "Ref",
    "Struct",
    "Symbol",
    "behind_views",
    "biases_of",
    "calls_of",
    "in_place_of",
    "kernels_of",
    "layers_of",
    "output_shape",
    "output_shapes",
    "single_calls",
    "weights_of",
]
