"""All causes why a file cannot be used, found at once: inputs, outputs and operators."""

from __future__ import annotations

import onnx

from tinyodl.frontend import constants
from tinyodl.frontend.load import (
    bind_batch_symbols,
    input_faults,
    network_inputs,
    several_causes,
    unknown_axes,
)
from tinyodl.frontend.names import live_nodes
from tinyodl.frontend.opening.batch import time_is_first
from tinyodl.frontend.opening.outputs import described, only_real_output
from tinyodl.frontend.remedies import other_quantisation
from tinyodl.ops import IMPORTERS

_ON_CONSTANTS = constants.FOLDABLE | {"Constant", "Shape", "Size"}
# Operators of scikit-learn's models that no gradient reaches.
_WITHOUT_GRADIENT = {
    "TreeEnsemble": "a tree ensemble has no weights that a gradient reaches",
    "SVM": "a support vector machine compares with its samples, and has no layers",
}


def domain_fault(op: str, domain: str) -> str | None:
    """Why no importer takes an operator of this domain; None if one does."""
    domain = "" if domain == "ai.onnx" else domain
    domains = IMPORTERS[op].domains if op in IMPORTERS else ("",) if op in _ON_CONSTANTS else ()
    if domain in domains:
        return None
    for start, reason in _WITHOUT_GRADIENT.items():
        if op.startswith(start):
            return f"{reason}; train a network instead, such as scikit-learn's MLPClassifier"
    if quantised := other_quantisation(op, domain):
        return quantised
    return f"operator of the domain '{domain}'" if domain else "unknown operator"


def check_causes(model: onnx.ModelProto, source: str, output: str | None) -> None:
    """Raises ModelError where inputs or outputs keep the file from being imported.

    It then names the operators, too, that cannot be imported. `output` is None if nobody has chosen
    one; "" if it is chosen later.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    bind_batch_symbols(named.graph)
    inputs = network_inputs(named.graph)
    found = [fault for value in inputs for fault in input_faults(value)]
    if inputs and all(value.type.tensor_type.shape.dim for value in inputs):
        for value in time_is_first(named):
            dimensions = value.type.tensor_type.shape.dim
            axes = [axis for axis, each in enumerate(dimensions) if each.dim_value <= 0]
            found = [fault for fault in found if f"'{value.name}'" not in fault]
            found.append(f"{unknown_axes(value, axes)} (a recurrent layer takes axis 0 for time)")
    if output is None and len(model.graph.output) > 1 and only_real_output(model) is None:
        found.append(several_outputs(model, source))
    if found:
        raise several_causes(source, [*found, *_operators(model, output)])


def several_outputs(model: onnx.ModelProto, source: str) -> str:
    """The outputs of a file, for a user to choose one."""
    names = ", ".join(f"'{value.name}'" for value in model.graph.output)
    listed = "".join(f"\n    --output {each}" for each in described(model, source))
    return (
        f"has {len(model.graph.output)} outputs ({names}); name the one to train and answer "
        f"with --output NAME:{listed}"
    )


def _operators(model: onnx.ModelProto, output: str | None) -> list[str]:
    """Operators that no importer knows, a line each."""
    live = live_nodes(model.graph, (output,) if output else None)
    nodes = [model.graph.node[index] for index in live]
    faults = {node.op_type: domain_fault(node.op_type, node.domain) for node in nodes}
    return [
        f"{op}: {fault}; end the network before it with --cut NODE"
        for op, fault in faults.items()
        if fault
    ]
