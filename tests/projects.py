"""Real projects for tests: compiled and built once a session, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.builds import build
from tinyodl import pio
from tinyodl.errors import ToolError
from tinyodl.targets.boards import load_board

WATCH = Path(__file__).parent.parent / "examples" / "watch"


def require_arm_compiler() -> None:
    """Skip the test (fail it in CI) where nothing compiles for a board."""
    from tests.conftest import require_tool

    try:
        pio.find_arm_compiler()
    except ToolError:
        require_tool("arm-none-eabi-gcc")


def flat_model(path: Path, inputs: int = 4, outputs: int = 2, seed: int = 0) -> Path:
    """An ONNX file with one Gemm from `inputs` to `outputs` values."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(outputs, inputs)).astype(np.float32) / 4
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", transB=1)],
        "flat",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def two_layers(path: Path, inputs: int = 8, hidden: int = 12, outputs: int = 3) -> Path:
    """An ONNX file with two Gemms and a Relu between them, of random weights."""
    random = np.random.default_rng(1)
    weights = {
        "w0": random.normal(size=(hidden, inputs)) / 3,
        "b0": np.zeros(hidden),
        "w1": random.normal(size=(outputs, hidden)) / 3,
        "b1": np.zeros(outputs),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], "hidden", transB=1),
        helper.make_node("Relu", ["h"], ["a"], "relu"),
        helper.make_node("Gemm", ["a", "w1", "b1"], ["y"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "two_layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def image_model(path: Path) -> Path:
    """An ONNX file that sorts images (1, 3, 24, 24): two convolutions, averages, one Gemm.

    The image takes more memory than anything behind it.
    """
    random = np.random.default_rng(0)
    shapes = {"w0": (4, 3, 3, 3), "w1": (8, 4, 1, 1), "w2": (5, 8)}
    weights = {name: random.normal(size=shape) / 3 for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "conv0", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "conv1", strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["y"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 24, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def built(model: Path, board: str, out: Path, **options: object) -> Path:
    """A compiled and built project."""
    tinyodl.compile(model, board, out, **options)  # type: ignore[arg-type]
    build(out, load_board(board))
    return out


@pytest.fixture(scope="session")
def watch_host_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("host") / "watch"
    return built(WATCH / "watch_cnn_c7.onnx", "host", out, learning_rate=0.02)


@pytest.fixture(scope="session")
def watch_nrf_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_arm_compiler()
    out = tmp_path_factory.mktemp("nrf") / "watch"
    return built(WATCH / "watch_cnn_c7.onnx", "nrf52840_dk", out, learning_rate=0.02)


@pytest.fixture(scope="session")
def regression_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regression")
    model = flat_model(folder / "flat.onnx")
    return built(model, "host", folder / "flat", loss="mse", learning_rate=0.1)


@pytest.fixture
def watch_host(watch_host_built: Path, tmp_path: Path) -> Path:
    """The watch model's host build, with an empty store."""
    return Path(shutil.copytree(watch_host_built, tmp_path / "watch"))


@pytest.fixture
def watch_nrf(watch_nrf_built: Path, tmp_path: Path) -> Path:
    """The watch model's firmware for the nRF52840 DK, with an empty store."""
    return Path(shutil.copytree(watch_nrf_built, tmp_path / "watch-nrf"))


@pytest.fixture
def regression(regression_built: Path, tmp_path: Path) -> Path:
    """The host build of one Gemm, 4 to 2 values, that learns with loss mse."""
    return Path(shutil.copytree(regression_built, tmp_path / "flat"))
