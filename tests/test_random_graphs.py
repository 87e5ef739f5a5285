"""Random networks, trained by the generated C and by PyTorch: five full updates, every weight."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tests.frontend.models import assert_close, run_onnx, saved
from tests.onnx_torch import TorchModel
from tests.random_graphs import KINKED, SMOOTH, random_model
from tests.test_training import clearest, samples, train_both
from tinyodl.frontend import import_model

SEEDS = range(36)


@pytest.mark.parametrize("seed", SEEDS)
def test_five_full_updates_agree_with_pytorch(tmp_path, seed):
    path = saved(random_model(seed), tmp_path)
    graph = import_model(path)
    drawn = samples(graph.shape("x"), 4, 40)
    losses, pairs = train_both(path, "full", drawn, tmp_path, rate=0.02, choose_samples=clearest)
    assert len(losses) == 5
    for found, expected in losses:
        assert found == pytest.approx(expected, rel=1e-4)
    assert pairs
    for name, (found, expected) in pairs.items():
        start = graph.tensor(name).data
        change = np.abs(expected - start).max()
        spacing = np.spacing(np.abs(start).max())
        assert np.abs(found - expected).max() <= 1e-3 * change + 20 * spacing, name


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_itself_agrees_with_onnxruntime(tmp_path, seed):
    path = saved(random_model(seed), tmp_path)
    reference = TorchModel(path, torch.float64)
    shape = [d.dim_value for d in reference.model.graph.input[0].type.tensor_type.shape.dim]
    ((x, _),) = samples(shape, 4, 1)
    assert_close(reference.logits(x).detach().numpy(), run_onnx(path, x))


def test_the_networks_hold_what_their_name_promises():
    ops: Counter[str] = Counter()
    shared = branches = 0
    for seed in SEEDS:
        made = random_model(seed)
        ops.update(node.op_type for node in made.graph.node)
        uses = Counter(name for node in made.graph.node for name in node.input)
        weights = {tensor.name for tensor in made.graph.initializer if len(tensor.dims) == 4}
        shared += any(uses[name] > 1 for name in weights)
        branches += any(count > 1 for name, count in uses.items() if name.startswith("t"))
    expected = {*SMOOTH, *KINKED, "Conv", "Gemm", "Add", "Sub", "Mul", "Concat", "Split", "MaxPool",
                "AveragePool", "BatchNormalization", "LayerNormalization", "InstanceNormalization",
                "Transpose", "Pad", "Slice", "GlobalAveragePool", "GlobalMaxPool"}  # fmt: skip
    assert expected <= set(ops)
    assert shared >= 15 and branches >= 30
