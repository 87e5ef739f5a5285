"""`--select host`: what a board should learn, chosen from samples with the C of the board.

One pass in this process measures the importance of every candidate (`tinyodl.select.importance`).
Layers come in the order of their Fisher potential, the most important first. Each one gets the
largest share of its output channels (all, a half, a quarter, an eighth) that still fits into the
project's memory, and of its channels those with the largest Delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinyodl.errors import UserError
from tinyodl.frontend import Changes, prepare
from tinyodl.graph import Array
from tinyodl.project.manifest import MODEL_NAME, Manifest
from tinyodl.select.choice import Choice
from tinyodl.select.importance import Samples, importance

_FRESH = "head."  # a layer that --head made says nothing before it has learned
SHARES = (1.0, 0.5, 0.25, 0.125)


def choose_on_host(project: Path, manifest: Manifest, x: Array, y: Array | None) -> Choice:
    """The choice for the samples `x` (N, *input) with the labels `y`.

    Raises UserError for a project without candidates, ToolError where there is no C compiler.
    """
    if not manifest.candidates:
        raise UserError(
            "--select needs a project that leaves the choice to its run: compile it with "
            "--update device"
        )
    prepared = prepare(project / MODEL_NAME, Changes(output=manifest.model.output_name))
    fresh = tuple(layer.name for layer in manifest.layers if layer.name.startswith(_FRESH))
    found = importance(replace(prepared, head=fresh), manifest.plan, Samples(x, y))
    deltas = {
        name: layer.outputs
        for name, layer in found.layers.items()
        if name in {each.name for each in manifest.candidates}
    }
    return filled(deltas, manifest)


def filled(deltas: Mapping[str, Array], manifest: Manifest) -> Choice:
    """The choice by Delta of the output channels (channels,) of each layer, within the memory."""
    records = {each.name: each for each in manifest.candidates}
    weights, inputs = manifest.plan.pool, manifest.plan.pool_inputs
    choice: dict[str, tuple[int, ...]] = {}
    for name in sorted(deltas, key=lambda name: -float(np.sum(deltas[name]))):
        each, delta = records[name], np.asarray(deltas[name])
        if not delta.sum() > 0:
            continue
        for share in SHARES:
            count = max(1, int(each.channels * share))
            taken = count * each.weights, each.inputs_kept(count)
            if taken[0] <= weights and taken[1] <= inputs:
                best = np.argsort(-delta, kind="stable")[:count]
                choice[name] = tuple(sorted(int(channel) for channel in best))
                weights, inputs = weights - taken[0], inputs - taken[1]
                break
    return {each.name: choice[each.name] for each in manifest.candidates if each.name in choice}
