"""Values known at compile time: initializers, Constant nodes, and nodes on constants.

Exporters compute shapes and prepare weights with small chains of nodes on constants. These are
evaluated by ONNX's own reference implementation, within bounds on the size of their results.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
from onnx.reference import ReferenceEvaluator

from tinyodl.graph import Array
from tinyodl.ops.shared import MAX_ELEMENTS, OnnxNode, Unsupported

_ELEMENTWISE = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Abs", "Neg", "Reciprocal", "Sqrt"),
        *("Floor", "Ceil", "Cast", "Identity", "Equal", "Less", "Greater", "And", "Or", "Not"),
        *("Where", "Exp", "Log", "Pow", "Sum", "Clip", "Round", "Sign", "Relu", "Sigmoid", "Tanh"),
        *("Erf", "Softplus", "GreaterOrEqual", "LessOrEqual", "Xor"),
    )
)
_REARRANGING = frozenset(
    (
        *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("Concat", "Split", "Gather", "Slice", "Expand"),
        *("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean"),
        *("ReduceL1", "ReduceL2", "ReduceSumSquare"),
    )
)
# What holds the same elements as its first input, each once.
PERMUTING = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"))
FOLDABLE = _ELEMENTWISE | _REARRANGING | {"ConstantOfShape", "Range", "Tile"}


def initializers(graph: onnx.GraphProto) -> dict[str, Array]:
    """The graph's initializers. Raises Unsupported naming one that cannot be read."""
    return {tensor.name: array(tensor) for tensor in graph.initializer}


def array(tensor: onnx.TensorProto) -> Array:
    """The value of a TensorProto. Raises Unsupported."""
    if any(size < 0 for size in tensor.dims) or prod(tensor.dims) > MAX_ELEMENTS:
        raise Unsupported(
            f"the tensor '{tensor.name}' has the shape {list(tensor.dims)}",
            f"up to {MAX_ELEMENTS} elements",
        )
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # numpy, protobuf and onnx raise what they like
        raise Unsupported(
            f"the tensor '{tensor.name}' cannot be read ({error})", "complete tensors"
        ) from error


def constant_node(node: OnnxNode) -> Array:
    """The value of a Constant node."""
    for name, value in node.attrs.items():
        if name == "value" and isinstance(value, onnx.TensorProto):
            return array(value)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise Unsupported(f"it holds {', '.join(node.attrs) or 'nothing'}", "a tensor or numbers")


def shape_node(node: OnnxNode, shape: tuple[int, ...]) -> Array:
    """The value of a Shape node on an input of known shape."""
    start = node.integer("start", 0)
    end = node.integer("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def evaluate(node: OnnxNode, proto: onnx.NodeProto, inputs: dict[str, Array]) -> list[Array]:
    """The outputs of a foldable node on constants."""
    bound = _bound(node.op, list(inputs.values()))
    if bound > MAX_ELEMENTS:
        raise Unsupported(f"it may make {bound:.0f} elements of constants", f"up to {MAX_ELEMENTS}")
    try:
        graph = onnx.helper.make_graph(
            [proto],
            "constants",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in inputs.items()
            ],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs],
        )
        opset = onnx.helper.make_opsetid("", node.opset)
        model = onnx.helper.make_model(graph, opset_imports=[opset])
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, inputs)
        return [np.asarray(result) for result in results]
    except Exception as error:
        raise Unsupported(
            f"its constant value cannot be computed ({' '.join(str(error).split())[:200]})",
            "valid operations on constants",
        ) from error


def _bound(op: str, inputs: list[Array]) -> float:
    """At most so many elements come out."""
    if op in _ELEMENTWISE or (op == "Expand" and len(inputs) == 2):
        shapes = [value.shape for value in inputs]
        if op == "Expand":
            shapes[1] = tuple(abs(int(size)) for size in inputs[1].reshape(-1)[:16])
        try:
            return prod(np.broadcast_shapes(*shapes))
        except ValueError:
            return 0  # the evaluation says what is wrong
    if op == "ConstantOfShape":
        return prod(abs(int(size)) for size in inputs[0].reshape(-1)[:16])
    if op == "Range" and all(value.size == 1 for value in inputs):
        start, limit, delta = (float(value.reshape(())) for value in inputs)
        return abs(limit - start) / abs(delta) + 1 if delta else 0
    if op == "Tile" and len(inputs) > 1:
        return inputs[0].size * prod(abs(int(times)) for times in inputs[1].reshape(-1)[:16])
    if op == "Gather" and len(inputs) > 1:
        return inputs[0].size * max(inputs[1].size, 1)
    return sum(value.size for value in inputs)
