"""What other tools do with valid models that nobody expects, and what tinyodl makes of it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantFormat
from torch import nn

from tests.frontend.interpreter import evaluate
from tests.frontend.models import model, run_onnx, saved, weights
from tests.frontend.quantized_models import Builder, by_onnxruntime
from tests.frontend.test_quantized import compare, sample_of
from tests.hostnet import HostNet
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.project.plan import UpdatePlan


def exported(
    network: nn.Module, shape: tuple[int, ...], folder: Path, dynamo: bool, **more
) -> Path:
    path = folder / "model.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(network, (torch.randn(shape),), str(path), dynamo=dynamo, verbose=False,
                          opset_version=18 if dynamo else 17, **more)  # fmt: skip
    return path


def test_a_float_bias_keeps_its_value(tmp_path):
    """onnxruntime's optimisations round it to int32 in steps of s_x * s_w: 0.2 becomes 0 in steps
    of 0.5. Its answer without optimisations is the reference for all QDQ files."""
    b = Builder("int8")
    x = b.rounded("x", 1.0, 0)
    w = b.add("DequantizeLinear", b.hold(np.int8([[[[2]]]])), *b.steps(0.5, 0, "int8"))
    y = b.rounded(b.add("Conv", x, w, b.hold(np.float32([0.2]))), 0.1, 0)
    path = saved(b.built([1, 1, 2, 2], y), tmp_path)
    graph = import_model(path)
    assert "QLinearConv" not in {n.op for n in graph.nodes}  # 0.2 is two steps of the output
    for value in (0, 3):
        x = np.full((1, 1, 2, 2), value, np.float32)
        np.testing.assert_allclose(run_onnx(path, x), value + 0.2, rtol=1e-6)
        np.testing.assert_allclose(evaluate(graph, x), value + 0.2, rtol=1e-6)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("counts", [0, 1])
def test_average_pools_of_integers_divide_by_the_whole_kernel(tmp_path, ceil, counts):
    """QLinearAveragePool counts what lies beyond the padding too, AveragePool does not."""
    b = Builder("int8")
    x, y = b.steps(0.05, 3, "int8"), b.steps(0.0437, -2, "int8")
    shape = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    q = b.add("QuantizeLinear", "x", *x)
    q = b.add("QLinearAveragePool", q, *x, *y, domain="com.microsoft", ceil_mode=ceil,
              count_include_pad=counts, **shape)  # fmt: skip
    output = b.add("DequantizeLinear", q, *y)
    made = model(b.nodes, [1, 2, 6, 6], b.held, output=output, rank=4, domains=["com.microsoft"])
    path = saved(made, tmp_path)
    graph = import_model(path)
    for seed in range(2):
        given = sample_of(graph, seed)
        off = np.abs(evaluate(graph, given) - run_onnx(path, given)) / 0.0437
        assert off.max() < 1.01 and np.count_nonzero(off > 0.01) <= 1  # a tie


@pytest.mark.parametrize("form", QuantFormat)
def test_softmax_has_another_scale_in_each_form(tmp_path, form):
    """1/255 in the QDQ form, 1/256 as QLinearSoftmax; both are kept."""
    rng = np.random.default_rng(0)
    held = {"w": rng.normal(size=(6, 4)).astype(np.float32)}
    nodes = [onnx.helper.make_node("Gemm", ["x", "w"], ["h"]),
             onnx.helper.make_node("Softmax", ["h"], ["y"])]  # fmt: skip
    folder = tmp_path / "float"
    folder.mkdir()
    path = by_onnxruntime(saved(model(nodes, [1, 6], held), folder), tmp_path / "q.onnx", form)
    graph = import_model(path)
    net = HostNet(graph, UpdatePlan(layers={}, loss="mse"), tmp_path / "net")
    step = graph.tensor(graph.producer[graph.outputs[0]].inputs[0]).quantization.scale[0]
    assert step == pytest.approx(1 / 255 if form is QuantFormat.QDQ else 1 / 256)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(1, 6)).astype(np.float32)
        assert np.abs(net.forward(x) - run_onnx(path, x)).max() < 1.01 * step


class Projected(nn.Module):
    """An LSTM whose outputs are projected: the ONNX operator has no such thing."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, proj_size=2, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


@pytest.mark.filterwarnings("ignore")
def test_a_projected_lstm_is_refused(tmp_path):
    """PyTorch's exporter leaves the projection out without a word; onnxruntime refuses the file."""
    path = exported(Projected().eval(), (1, 4, 3), tmp_path, dynamo=True)
    with pytest.raises(Exception, match="initial_c"):
        run_onnx(path, weights(1, 4, 3))
    with pytest.raises(ModelError, match=r"nn\.LSTM\(proj_size"):
        import_model(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True])
def test_a_network_exported_in_train_mode_names_the_remedy(tmp_path, dynamo):
    """Both exporters leave Dropout active; the older one does so where it is asked to."""
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    more = {} if dynamo else {"training": torch.onnx.TrainingMode.TRAINING}
    path = exported(network, (1, 2, 8), tmp_path, dynamo, **more)
    with pytest.raises(ModelError, match=r"Dropout .*model\.eval\(\) before the export"):
        import_model(path)


def test_a_quantised_network_agrees_layer_by_layer_without_optimisations(tmp_path):
    """Large biases too: with optimisations onnxruntime saturates them at 2^31 steps."""
    b = Builder("int8")
    scale = np.float32([1e-9, 0.01])
    w = b.add("DequantizeLinear", b.hold(b.integers("int8", 2, 2, 1, 1)),
              *b.steps(scale, 0, "int8"), axis=0)  # fmt: skip
    y = b.add("Conv", b.rounded("x", 0.03, 5), w, b.hold(np.float32([2.5, -1.5])))
    path = saved(b.built([1, 2, 4, 4], b.rounded(y, 0.05, 3)), tmp_path)
    found = compare(import_model(path), path)
    assert found.most <= 1 and found.different <= 1
