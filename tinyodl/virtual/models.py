"""The model of a chip family, found by the name that the family's data gives it."""

from __future__ import annotations

from importlib import import_module

from tinyodl.errors import UserError
from tinyodl.targets.chips import FAMILIES, Family
from tinyodl.virtual.peripheral import Model


def model_of(family: Family) -> Model:
    """`MODEL` of the module of `tinyodl.virtual` that models the family's chips.

    Raises UserError where the family names none, or one that is not there.
    """
    if not family.virtual:
        others = ", ".join(name for name, other in FAMILIES.items() if other.virtual)
        raise UserError(
            f"there is no virtual chip of the family {family.name!r}; there are {others}"
        )
    module = f"{__package__}.{family.virtual}"
    try:
        model = getattr(import_module(module), "MODEL", None)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the family {family.name!r} names virtual = {family.virtual!r}, and there is no "
            f"module {module}"
        ) from error
    if not isinstance(model, Model):
        raise UserError(f"the module {module} has no MODEL of the family {family.name!r}")
    return model
