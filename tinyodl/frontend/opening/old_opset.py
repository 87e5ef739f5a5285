"""Files of opset 1 to 6: onnx's own converter makes them newer, and onnxruntime has to agree.

Later opsets are read as they are: for some operators the converter (onnx 1.23) makes files that
compute other numbers.
"""

from __future__ import annotations

import re

import onnx
import onnx.version_converter

from tinyodl.errors import ModelError
from tinyodl.frontend.load import OLDEST_OPSET, one_line, opset_of
from tinyodl.frontend.runtime import session

_CONVERTED = 11


def with_opset(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str] | None:
    """A copy that says its opset, if the file does not and has no operator of ONNX's own."""
    if opset_of(model) or any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        return None
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.opset_import.add(domain="", version=_CONVERTED)
    return made, f"no operator of ONNX's own is in the file: opset {_CONVERTED} for those to come"


def newer(model: onnx.ModelProto, source: str) -> tuple[onnx.ModelProto, str] | None:
    """A copy of opset 11, and the change in words; None for files that are new enough.

    Raises ModelError, with the operators at fault, where onnxruntime cannot run the file or onnx
    cannot convert it.
    """
    opset = opset_of(model)
    if not 0 < opset < OLDEST_OPSET:
        return None
    try:
        session(model)
        made = onnx.version_converter.convert_version(model, _CONVERTED)
    except Exception as error:  # onnxruntime raises its own types, onnx whatever it likes
        raise ModelError(
            f"{source}: uses ONNX opset {opset}; below {OLDEST_OPSET} a file is converted, and "
            f"compared in onnxruntime, which fails: {_operator_in(error)}; export it with opset 17"
        ) from error
    return made, f"opset {opset} converted to {_CONVERTED}"


def _operator_in(error: Exception) -> str:
    """The operator that onnxruntime says it does not have; else its whole message."""
    found = re.search(r"Could not find an implementation for (\w+)\((\d+)\)", str(error))
    return f"there is no {found[1]} of opset {found[2]}" if found else one_line(error)
