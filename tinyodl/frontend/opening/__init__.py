"""The file as users have it -> the ONNX model that is imported, with a line for each change."""

from tinyodl.frontend.opening.opened import Opened, opened

__all__ = ["Opened", "opened"]
