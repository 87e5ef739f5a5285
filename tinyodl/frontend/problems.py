"""Unsupported parts of a model: found node by node, reported all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyodl.errors import ModelError


@dataclass(frozen=True)
class Problem:
    """One node that cannot be imported."""

    node: str
    op: str
    what: str
    supported: str = ""


def model_error(
    source: str,
    opset: int,
    problems: Sequence[Problem],
    operators: Sequence[str],
    cut_after: str | None = None,
) -> ModelError:
    """One error with every problem, in the order of the file; nodes with the same one in a line.

    `cut_after` is the last node that the network could be cut after to be compiled.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        kind = (problem.op, problem.what, problem.supported)
        groups.setdefault(kind, []).append(f"'{problem.node}'")
    count = "1 node is" if len(problems) == 1 else f"{len(problems)} nodes are"
    lines = [f"{source} (opset {opset}): {count} not supported"]
    for (op, what, supported), names in groups.items():
        line = f"  {op} {', '.join(names)}: {what}"
        lines.append(f"{line}; supported: {supported}" if supported else line)
    lines.append(f"supported operators: {', '.join(operators)}")
    lines.append(
        "let onnxruntime fold what is constant (--simplify), or replace these nodes in the "
        "original network and export it again"
    )
    if cut_after is not None:
        lines.append(
            f"or use the part before the first of them: --cut '{cut_after}', "
            "with a classifier such as --head dense:10"
        )
    return ModelError("\n".join(lines))
