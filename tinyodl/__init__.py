"""tinyodl: an ONNX file goes in, firmware that keeps learning on a microcontroller comes out."""

__version__ = "0.1.0"
