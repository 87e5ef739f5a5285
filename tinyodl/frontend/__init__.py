"""ONNX -> Graph, and learned weights back into ONNX."""

from tinyodl.frontend.build import import_model
from tinyodl.frontend.export import export_model
from tinyodl.frontend.head import Head, parse_head
from tinyodl.frontend.load import load_model, model_bytes
from tinyodl.frontend.prepare import Changes, Precision, Prepared, prepare
from tinyodl.frontend.start import Start

__all__ = [
    "Changes",
    "Head",
    "Precision",
    "Prepared",
    "Start",
    "export_model",
    "import_model",
    "load_model",
    "model_bytes",
    "parse_head",
    "prepare",
]
