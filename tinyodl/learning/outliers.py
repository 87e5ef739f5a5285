"""Outliers: a sample far outside those before it is predicted, and not learned.

The rule is the kernel's, `outlier_f32.h`, in the same float32 arithmetic; `docs/outliers.md`
describes its limits. The peak of an input is its largest |value|; its reach is the size of the
peaks so far. A sample is an outlier if the peak of one of its inputs is more than FACTOR times the
reach. The reach grows by a factor of GROWTH a sample at most.

An input that is int8 on the board has no reach there: its values saturate. The host gates it; its
reach is the largest real number in the range of the model's own quantisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyodl.graph import Graph, Node, Storage, Tensor
from tinyodl.learning.tensors import sample_inputs
from tinyodl.memory.arena import ArenaPlan
from tinyodl.ops import OPERATORS
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.project.plan import UpdatePlan
from tinyodl.samples.data import load_inputs

REACH = "<outliers.reach>"  # float32 (inputs that are float32); 0: no sample was there yet
SETTING = "outlier_factor"
FACTOR = 32.0
GROWTH = 2.0
FIRST = 16  # samples; their median peak is the first reach for the others
IN_A_ROW = 10  # outliers that end a run

_INT8 = (-128, 127)


def peaks(x: NDArray[np.float32], sizes: Iterable[int]) -> NDArray[np.float32]:
    """The peak of each input: (N, inputs) for samples (N, ...) of inputs of these sizes."""
    rows = x.reshape(len(x), -1)
    ends = np.cumsum(list(sizes))
    parts = np.split(rows, ends[:-1], axis=1)
    return np.stack([np.abs(part).max(axis=1) for part in parts], axis=1)


def are_outliers(
    peak: NDArray[np.float32], reach: NDArray[np.float32], factor: np.float32
) -> NDArray[np.bool_]:
    """For each input, whether its peak makes the sample an outlier."""
    with np.errstate(over="ignore"):
        far = (factor > 0) & (reach > 0) & (peak > factor * reach)
    return np.asarray(~np.isfinite(peak) | far)


def grown(peak: NDArray[np.float32], reach: NDArray[np.float32]) -> NDArray[np.float32]:
    """The reach after a sample that is no outlier."""
    with np.errstate(over="ignore"):
        most = np.where(reach > 0, np.minimum(peak, np.float32(GROWTH) * reach), peak)
    return np.maximum(reach, most)


def first_reach(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first reach: the median of the first FIRST peaks (N, inputs) other than 0.

    One bad sample among them does not move it far, nor does silence, however long. Of two it is
    the smaller.
    """
    found = [np.sort(column[column > 0][:FIRST]) for column in samples.T]
    return np.array([each[(len(each) - 1) // 2] if len(each) else 0 for each in found], np.float32)


def reach_after(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The reach after samples with these peaks (N, inputs), in their order."""
    reach = first_reach(samples)
    for peak in samples:
        if not are_outliers(peak, reach, np.float32(FACTOR)).any():
            reach = grown(peak, reach)
    return reach


def reach_of_int8(scale: float, zero_point: int) -> np.float32:
    """The largest |number| that an int8 input stands for."""
    return np.float32(scale) * np.float32(max(zero_point - _INT8[0], _INT8[1] - zero_point))


# In the training graph, and in net.c


def gated(graph: Graph, plan: UpdatePlan, shown: Iterable[str | Path] = ()) -> Graph:
    """A training graph that keeps the reach of its float32 inputs, where the plan skips outliers.

    It begins behind the samples of the files `shown`, to calibrate or to start from. Nothing is
    kept where nothing is learned, or no input is float32. Raises DataError.
    """
    arrives = arriving(graph)
    full = in_full(arrives, graph) if arrives else graph
    names = _float_inputs(graph)
    learns = any(t.storage in (Storage.PARAMETER, Storage.STATE) for t in graph.tensors.values())
    if plan.outliers == "keep" or not learns or not names:
        return graph
    inputs = {name: full.shape(name) for name in sample_inputs(full)}
    seen = []
    for path in shown:
        x = load_inputs(Path(path), inputs, graph.shape(graph.outputs[0]))
        seen.append(np.concatenate([peaks(x[n], [full.tensor(n).size]) for n in names], axis=1))
    begun = reach_after(np.concatenate(seen)) if seen else None
    made = graph.with_tensors([Tensor(REACH, (len(names),), Storage.STATE, data=begun)])
    read = () if arrives else tuple(names)  # an arriving sample is never there as a whole
    node = Node("Outliers", "outliers", (*read, REACH), ())
    at = 1 if arrives else 0
    return replace(made, nodes=(*made.nodes[:at], node, *made.nodes[at:]))


def _float_inputs(graph: Graph) -> list[str]:
    return [name for name in sample_inputs(graph) if graph.tensor(name).dtype == "float32"]


def gate_bytes(graph: Graph) -> int:
    """Bytes of RAM that the gate takes beside the reach and the setting."""
    if REACH not in graph.tensors:
        return 0
    asks = any(OPERATORS[node.op].part == "decide" for node in graph.nodes)
    return 4 * (arriving(graph) is not None) + 4 * asks


def gate_context(graph: Graph, arena: ArenaPlan, c: Mapping[str, str]) -> dict[str, Any] | None:
    """What `outlier.j2` is written with; None without a gate. `c` gives the tensors' C names."""
    if REACH not in graph.tensors:
        return None
    return {
        "step": [node.op for node in graph.nodes].index("Outliers"),
        "reach": c[REACH],
        "by_rows": arriving(graph) is not None,
        "inputs": [
            {"size": graph.tensor(name).size, "offset": arena.offsets[name]}
            for name in _float_inputs(graph)
        ],
    }
