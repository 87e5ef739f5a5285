"""Names of the tensors and nodes that training adds to a graph."""

from __future__ import annotations

from tinyodl.graph import Graph

# Tensors that training adds. No name of the model begins with RESERVED, so none can be hidden.
RESERVED = "<"
TARGET = "<target>"
LOSS = "<loss>"
SAMPLE = "<sample>"  # the real numbers of an int8 input, which an autoencoder makes again
PENDING = "<pending>"
ADAM_CORRECTION = "<bias correction>"

# The state tensors of each optimiser for a parameter, as suffixes of their names.
STATES = {"sgd": (), "momentum": ("velocity",), "adam": ("m", "v")}
SUM = "sum"
FRACTION = "fraction"  # of an int8 weight, between two integers
# The node that applies a summed gradient, by the number format of the parameter.
UPDATES = {"float32": "Update", "int8": "UpdateInt8", "int16": "UpdateInt16"}


def state_name(parameter: str, state: str) -> str:
    """The name of a parameter's state tensor ("velocity", "m", "v", "sum", "fraction")."""
    return f"<{parameter}.{state}>"


def sample_inputs(graph: Graph) -> tuple[str, ...]:
    """The inputs of the model itself: they are uploaded together, side by side in this order."""
    return tuple(name for name in graph.inputs if name != TARGET)
