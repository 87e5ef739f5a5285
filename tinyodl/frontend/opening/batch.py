"""Whether the first axis of an input is a batch, where it has a size other than 1.

Files are often exported with a dummy input of a whole batch. Its rows are computed one by one, so
one row is the network. The first axis of a time series in PyTorch's default layout, of a recurrent
state, or of an input without a batch is another thing: all of it is one sample.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from tinyodl.frontend.load import inferred, input_faults, network_inputs
from tinyodl.frontend.opening.given_shapes import forget_shapes

_RECURRENT = ("RNN", "GRU", "LSTM")


def static_batch(model: onnx.ModelProto) -> int:
    """The size of the first axis that all inputs and outputs share; 0 where there is none."""
    inputs = network_inputs(model.graph)
    if any(input_faults(value) for value in inputs):
        return 0
    shapes = [[each.dim_value for each in v.type.tensor_type.shape.dim] for v in inputs]
    firsts = {shape[0] for shape in shapes if len(shape) > 1}
    if len(firsts) != 1 or any(len(shape) < 2 for shape in shapes):
        return 0
    [batch] = firsts
    if batch < 2 or _steps_of_time(model, batch):
        return 0
    try:
        outputs = inferred(model).graph.output
    except Exception:  # onnx raises whatever its C++ half threw; the import says it in words
        return 0
    made = [[each.dim_value for each in v.type.tensor_type.shape.dim] for v in outputs]
    return batch if all(shape and shape[0] == batch for shape in made) else 0


def of_one_row(model: onnx.ModelProto, batch: int) -> Iterator[onnx.ModelProto]:
    """Copies with batch 1 whose shapes fit together: as it is, then with shapes of Reshape changed.

    Some exporters write the batch into the constant shapes that Reshape nodes read.
    """
    for reshapes in (False, True):
        made = onnx.ModelProto()
        made.CopyFrom(model)
        for value in network_inputs(made.graph):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        forget_shapes(made.graph, batch)
        if reshapes and not _reshape_one(made, batch):
            return
        try:
            known = inferred(made)
        except Exception:  # as above
            continue
        firsts = [value.type.tensor_type.shape.dim for value in known.graph.output]
        if all(shape and shape[0].dim_value in (0, 1) for shape in firsts):
            yield made


def _reshape_one(model: onnx.ModelProto, batch: int) -> bool:
    """Replace the batch at the front of Reshape's constant shapes by 1; whether there was one."""
    graph = model.graph
    shapes = {
        node.input[1]
        for node in graph.node
        if node.op_type in ("Reshape", "Expand") and len(node.input) > 1
    }
    held = [t for t in graph.initializer if t.name in shapes]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            held += [each.t for each in node.attribute if each.name == "value"]
    changed = False
    for tensor in held:
        sizes = np.array(onnx.numpy_helper.to_array(tensor))
        if sizes.ndim == 1 and sizes.size and sizes[0] == batch:
            sizes[0] = 1
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(sizes, name))
            changed = True
    return changed


def _steps_of_time(model: onnx.ModelProto, batch: int) -> bool:
    """Whether a recurrent layer takes the first axis of the inputs for its steps."""
    layers = [node for node in model.graph.node if node.op_type in _RECURRENT]
    if not layers:
        return False
    return _sequence_lengths(model, batch) != _sequence_lengths(model, 1)


def time_is_first(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs whose first axis is open, and is time: a recurrent layer takes it for its steps."""
    if not any(node.op_type in _RECURRENT for node in model.graph.node):
        return []
    inputs = network_inputs(model.graph)
    open_ = [v for v in inputs if v.type.tensor_type.shape.dim[0].dim_value <= 0]
    return open_ if open_ and _sequence_lengths(model, 2) != _sequence_lengths(model, 1) else []


def _sequence_lengths(model: onnx.ModelProto, batch: int) -> list[int]:
    """The number of steps of each recurrent layer, with so many rows in the inputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value in network_inputs(made.graph):
        dimensions = value.type.tensor_type.shape.dim
        was_one = dimensions[0].dim_value == 1
        dimensions[0].dim_value = 1 if was_one else batch
    forget_shapes(made.graph, batch=-1)
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        known = onnx.shape_inference.infer_shapes(made, data_prop=True)
    except Exception:  # onnx raises whatever its C++ half threw; the import says it in words
        return []
    values = (*known.graph.value_info, *known.graph.input)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return [
        shapes[node.input[0]][0].dim_value if node.input[0] in shapes else 0
        for node in known.graph.node
        if node.op_type in _RECURRENT and not _batch_first(node)
    ]


def _batch_first(node: onnx.NodeProto) -> bool:
    return any(each.name == "layout" and each.i == 1 for each in node.attribute)
