"""The kernels as C that a test includes: those that are templates as most plans render them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tinyodl.codegen.environment import environment
from tinyodl.planner.kernel_files import KERNELS

_RENDERED = (
    "qlinear_conv_shape.h",
    "qlinear_conv_i8.h",
    "qlinear_conv_input_gradient_i8.h",
)


@cache
def kernel_headers() -> Path:
    """A folder with the kernels of a network whose channels all are chosen when it is compiled."""
    folder = Path(tempfile.mkdtemp(prefix="tinyodl-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in KERNELS.glob("*.h"):
        shutil.copy(path, folder)
    for name in _RENDERED:
        text = environment().get_template(f"kernels/{name}.j2").render(candidates=())
        (folder / name).write_text(text)
    return folder
