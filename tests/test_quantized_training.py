"""int8 networks that learn: whole models, by the generated C and by PyTorch's fake quantisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from tests import fake_quantized
from tests.hostnet import HostNet
from tests.models import ROOT, shared_only
from tinyodl.frontend import import_model
from tinyodl.graph import Graph, Node
from tinyodl.learning.tensors import state_name
from tinyodl.ops.shared.int8_learning import DEAD
from tinyodl.project.layer_update import ChannelUpdate
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose

SHARED = ROOT.parent / "shared" / "models"
SUMMED = {"batch": 2}  # gradients stay sums that can be read after one step
SEEDS = 4


def drawn(graph: Graph, seed: int) -> np.ndarray:
    """A sample that uses the input's range: noise on patches."""
    tensor = graph.tensor(graph.inputs[0])
    random = np.random.default_rng(seed)
    patches = random.integers(-128, 128, [-(-size // 4) for size in tensor.shape])
    for axis, size in enumerate(tensor.shape):
        patches = np.repeat(patches, 4, axis).take(range(size), axis)
    q = np.clip(patches + random.integers(-32, 33, tensor.shape), -128, 127)
    scale, zero = tensor.quantization.scale[0], tensor.quantization.zero_point
    return ((q - zero) * scale).astype(np.float32)


def logits_of(graph: Graph) -> str:
    """What a final Softmax reads, whose probabilities may be rounded to integers; or the output."""
    name = graph.outputs[0]
    while graph.producer[name].op in ("QuantizeLinear", "DequantizeLinear"):
        name = graph.producer[name].inputs[0]
    last = graph.producer[name]
    return last.inputs[0] if last.op == "Softmax" else graph.outputs[0]


@dataclass(frozen=True)
class Reference:
    """A sample, its label, and what PyTorch makes of them in float64."""

    x: np.ndarray
    label: int
    loss: float
    gradients: dict[str, np.ndarray]  # by constant
    margin: float

    @classmethod
    def of(cls, graph: Graph, seed: int) -> Reference:
        x = drawn(graph, seed)
        constants = fake_quantized.leaves(graph)
        values = fake_quantized.run(graph, constants, {graph.inputs[0]: torch.tensor(x).double()})
        logits = values[logits_of(graph)].reshape(1, -1)
        label = logits.argmin(1)  # a large loss: no gradient vanishes
        loss = functional.cross_entropy(logits, label)
        loss.backward()
        reached = {name: leaf.grad for name, leaf in constants.items() if leaf.grad is not None}
        return cls(
            x,
            label.item(),
            loss.item(),
            {name: gradient.numpy() for name, gradient in reached.items()},
            fake_quantized.margin(graph, values),
        )


def clearest(graph: Graph, seed: int) -> Reference:
    """Of eight samples, the one that stays farthest from ties and bounds."""
    return max((Reference.of(graph, 8 * seed + i) for i in range(8)), key=lambda r: r.margin)


def compare(net: HostNet, graph: Graph, plan: UpdatePlan, expected: dict[str, np.ndarray]) -> int:
    """Each sum of gradients against what a step would have to be; how many there were."""
    held = {parameter.name for parameter in net.parameters}
    count = 0
    for node in graph.nodes:
        if node.op != "QLinearConv" or not plan.learns(node.name):
            continue
        w, b = node.inputs[1:3]
        to_weight, to_bias = factors(node, graph, plan)
        if (summed := state_name(w, "sum")) in held:
            gradient = expected[w] * to_weight.reshape(-1, 1, 1, 1)
            update = plan.layers[node.name]
            if isinstance(update, ChannelUpdate):
                axis = 1 if update.side == "inputs" and graph.shape(w)[1] > 1 else 0
                gradient = gradient.take(update.chosen, axis)
            assert_close(net.parameter(summed), gradient, f"weight of {node.name}")
            count += 1
        if (summed := state_name(f"<{b}.delta>", "sum")) in held:
            assert_close(net.parameter(summed), expected[b] * to_bias, f"bias of {node.name}")
            count += 1
    return count


def factors(node: Node, graph: Graph, plan: UpdatePlan) -> tuple[np.ndarray, np.ndarray]:
    """From gradients of real weights and of biases in steps of sums to what learners get."""
    x, w = graph.tensor(node.inputs[0]), graph.tensor(node.inputs[1])
    y = graph.tensor(node.outputs[0])
    s_x, s_y = x.quantization.scale[0], y.quantization.scale[0]
    s_w = w.quantization.scales(w.shape[0]).astype(np.float64)
    if plan.scaling:
        return 1 / np.maximum(s_w, DEAD * np.median(s_w)), 1 / (s_x * s_w * s_y)
    return s_w, s_x * s_w / s_y


def assert_close(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5 * scale, err_msg=what)


def one_step(model: str, plan: UpdatePlan, folder, seeds=range(SEEDS)) -> int:
    """Losses and gradients of single steps; returns how many gradients were compared."""
    graph = import_model(SHARED / f"{model}.onnx")
    net = HostNet(graph, plan, folder)
    count = 0
    for seed in seeds:
        sample = clearest(graph, seed)
        net.library.net_reset()
        assert net.train(sample.x, sample.label) == pytest.approx(sample.loss, rel=1e-5)
        count += compare(net, graph, plan, sample.gradients)
    return count


def every_layer(model: str, updates: str, **rule) -> UpdatePlan:
    graph = import_model(SHARED / f"{model}.onnx")
    return UpdatePlan(layers=choose(graph, updates), **SUMMED, **rule)


@shared_only
@pytest.mark.parametrize("scaling", [True, False])
def test_resnet8_has_the_gradients_of_fake_quantisation(tmp_path, scaling):
    model = "mlperftiny_resnet8_cifar10_int8"
    plan = every_layer(model, "full", scaling=scaling)
    assert one_step(model, plan, tmp_path) == SEEDS * 2 * 10  # nine convolutions, one dense layer


@shared_only
@pytest.mark.parametrize(
    "model",
    ["watch_cnn_c7_int8", "lenet_mnist_c8_int8", "mlperftiny_dscnn_kws_int8"],
)
def test_other_int8_models_have_the_gradients_of_fake_quantisation(tmp_path, model):
    assert one_step(model, every_layer(model, "full"), tmp_path, range(3)) > 0


@shared_only
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_some_channels_have_the_gradients_that_all_would_have(tmp_path, side):
    model = "mlperftiny_dscnn_kws_int8"
    graph = import_model(SHARED / f"{model}.onnx")
    layers = choose(graph, "bias")
    chosen = ChannelUpdate.model_validate({side: (1, 5, 40)})
    names = [
        n.name for n in graph.nodes if n.op == "QLinearConv" and graph.shape(n.inputs[0])[1] == 64
    ]
    layers |= dict.fromkeys(names[:-1], chosen)
    assert one_step(model, UpdatePlan(layers=layers, **SUMMED), tmp_path, range(3)) > 0
