"""A choice: which channels of a project's candidates learn, made while the board runs.

`Choice` maps the name of each layer that learns to the output channels whose weights learn; () is a
layer of which the bias learns alone. On a board it is the parameter PLAN, uint16: what is asked
for, why it was refused, then for each candidate 0, or 1 and the number of channels, and all its
channels, those that learn first (`templates/net/chosen.j2`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tinyodl.errors import UserError
from tinyodl.graph import Array
from tinyodl.learning.candidates import HEADER
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.manifest import Manifest, OpenLayerRecord
from tinyodl.project.plan import UpdatePlan

Choice = Mapping[str, tuple[int, ...]]

TAKEN, NEW = 0, 1  # the first element of PLAN
_REFUSALS = {1: "its channels", 2: "the weights that learn", 3: "the inputs that a step keeps"}


def choice_of(plan: UpdatePlan, manifest: Manifest) -> Choice:
    """The choice that a plan makes among the candidates of a project.

    It says nothing of the other layers, or what the project says. Raises UserError for anything
    that no choice can say, or that does not fit into the project's memory.
    """
    known = {each.name: each for each in manifest.candidates}
    found: dict[str, tuple[int, ...]] = {}
    for name, update in plan.layers.items():
        if name not in known:
            if update not in ("none", manifest.plan.layers.get(name, "none")):
                raise UserError(
                    f"the plan lets layer {name!r} learn, which is no candidate of the project; "
                    f"its candidates are {', '.join(known)}"
                )
            continue
        if update == "none":
            continue
        if update == "bias":
            found[name] = ()
        elif update == "weights":
            found[name] = tuple(range(known[name].channels))
        elif isinstance(update, ChannelUpdate) and not isinstance(update.outputs, float):
            if update.outputs is None:
                raise UserError(f"layer {name!r}: a choice names output channels, no inputs")
            found[name] = tuple(sorted(set(update.outputs)))
        else:
            raise UserError(f"layer {name!r}: a choice says bias, weights or outputs = [...]")
    check(found, manifest)
    return found


def check(choice: Choice, manifest: Manifest) -> None:
    """Raises UserError where a choice names a channel that there is not, or takes too much."""
    weights = inputs = 0
    for each, channels in _layers(choice, manifest):
        if channels and max(channels) >= each.channels:
            raise UserError(
                f"layer {each.name!r} has the channels 0 to {each.channels - 1}, and the choice "
                f"names {max(channels)}"
            )
        weights += len(channels) * each.weights
        inputs += each.inputs_kept(len(channels))
    plan = manifest.plan
    for needed, there, what in (
        (weights, plan.pool, "weights that learn"),
        (inputs, plan.pool_inputs, "values of inputs that a step keeps"),
    ):
        if needed > there:
            raise UserError(
                f"the choice takes {needed:,} {what}, and the project has room for {there:,}; "
                "choose fewer channels, or compile with a larger --ram"
            )


def encoded(choice: Choice, manifest: Manifest) -> Array:
    """The choice as the host writes it to a board: as a new one."""
    values: list[int] = [NEW, 0]
    for each in manifest.candidates:
        channels = choice.get(each.name)
        chosen = [] if channels is None else sorted(set(channels))
        values.append(0 if channels is None else 1 + len(chosen))
        values += [*chosen, *sorted(set(range(each.channels)).difference(chosen))]
    return np.array(values, np.uint16)


def decoded(plan: Array, manifest: Manifest) -> Choice:
    """The choice that a board's PLAN says."""
    found: dict[str, tuple[int, ...]] = {}
    at = HEADER
    for each in manifest.candidates:
        count = int(plan[at])
        if count:
            found[each.name] = tuple(int(c) for c in plan[at + 1 : at + count])
        at += 1 + each.channels
    return found


def refusal(plan: Array, manifest: Manifest) -> str | None:
    """Why a board refused the choice in its PLAN, in words; None where it took it."""
    if plan[0] == TAKEN:
        return None
    number, why = divmod(int(plan[1]), 4)
    candidates = manifest.candidates
    layer = candidates[number].name if number < len(candidates) else str(number)
    return f"layer {layer!r}: {_REFUSALS.get(why, 'the plan')} do not fit"


def weights_of_choice(
    choice: Choice, manifest: Manifest, pool: Array
) -> Iterator[tuple[OpenLayerRecord, tuple[int, ...], Array]]:
    """For each layer with learning channels: its record, the channels, and their weights.

    These have the shape of the layer's weight with the learning channels only.
    """
    at = 0
    for each, channels in _layers(choice, manifest):
        size = len(channels) * each.weights
        if channels:
            shape = (len(channels), *each.shape[1:])
            yield each, channels, pool.reshape(-1)[at : at + size].reshape(shape)
        at += size


def with_choice(plan: UpdatePlan, choice: Choice) -> UpdatePlan:
    """The plan in which a choice is compiled in: a project of it learns the same, bit for bit."""
    layers = {
        name: _update(choice.get(name)) if update == "candidate" else update
        for name, update in plan.layers.items()
    }
    return plan.model_copy(update={"layers": layers, "pool": 0, "pool_inputs": 0})


def _update(channels: tuple[int, ...] | None) -> str | ChannelUpdate:
    if channels is None:
        return "none"
    return ChannelUpdate(outputs=tuple(sorted(channels))) if channels else "bias"


def _layers(
    choice: Choice, manifest: Manifest
) -> Iterator[tuple[OpenLayerRecord, tuple[int, ...]]]:
    """The candidates that learn, in the order of execution. Raises UserError for an unknown one."""
    names = [each.name for each in manifest.candidates]
    for name in choice:
        if name not in names:
            raise UserError(f"the choice names {name!r}; candidates are {', '.join(names)}")
    for each in manifest.candidates:
        if each.name in choice:
            yield each, tuple(sorted(set(choice[each.name])))
