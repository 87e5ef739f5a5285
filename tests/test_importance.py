"""Delta of channels: against PyTorch, and the same bits on every machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from tests import fake_quantized
from tests.builds import build
from tests.conftest import require_tool
from tests.firmware.test_same_bits import MACHINES, digits, pointwise_network, residual_network
from tests.hostnet import HostNet
from tests.models import INT8, WATCH, shared_only
from tests.onnx_torch import TorchModel
from tests.test_quantized_training import clearest, logits_of
from tests.test_training import watch_samples
from tinyodl.codegen import render_project, write_project
from tinyodl.codegen.network import render_network
from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.files.built_here import remember_sources
from tinyodl.frontend import Changes, import_model, prepare
from tinyodl.graph import Graph
from tinyodl.learning.importance import (
    Measured,
    delta_name,
    inputs_name,
    measurable,
    shift_name,
)
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.ops import layers_of
from tinyodl.planner.lowering import lower
from tinyodl.project.manifest import board_of
from tinyodl.project.manifest_records import manifest_of
from tinyodl.project.plan import UpdatePlan
from tinyodl.select.importance import Samples, importance
from tinyodl.targets.boards import load_board

SAMPLES = 8
INT8_WATCH = [path for path in INT8 if "watch" in path.name]


def everything(graph: Graph) -> Measured:
    return Measured(frozenset(measurable(graph, layers_of(graph))))


def measured(graph: Graph, samples, folder: Path) -> tuple[HostNet, Measured]:
    of = everything(graph)
    net = HostNet(graph, UpdatePlan(), folder, measured=of)
    for x, label in samples:
        net.train(x, label)
    return net, of


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_float32_layers_are_measured_as_pytorch_differentiates(tmp_path):
    """Of a layer y = w x + b, sum of g * y is sum of w * dw and b * db: from PyTorch's dw and db.

    For an input channel it is the part of sum of w * dw that reads this channel.
    """
    graph, samples = import_model(WATCH), watch_samples(SAMPLES)
    net, of = measured(graph, samples, tmp_path)
    reference = TorchModel(WATCH, torch.float64)
    expected: dict[str, np.ndarray] = {}
    for x, label in samples:
        for leaf in reference.leaves.values():
            leaf.grad = None
        logits = reference.logits(x).reshape(1, -1)
        functional.cross_entropy(logits, torch.tensor([label])).backward()
        for node in layers_of(graph):
            w, b = (
                reference.leaves[graph.tensor(name).origin.node, graph.tensor(name).origin.slot]
                for name in node.inputs[1:3]
            )
            products = (w * w.grad).detach().numpy()
            if graph.tensor(node.inputs[1]).origin.transform == "transpose":
                products = products.T
            shift = b.grad.numpy()
            outputs = products.reshape(len(shift), -1).sum(1) + b.detach().numpy() * shift
            depthwise = node.attrs.get("group", 1) > 1
            inputs = products.sum(tuple(a for a in range(products.ndim) if a != (not depthwise)))
            sums = {delta_name: outputs, shift_name: shift, inputs_name: inputs}
            for name, value in sums.items():
                expected[name(node.name)] = expected.get(name(node.name), 0) + value**2
    assert of.layers == {node.name for node in layers_of(graph)}
    kept = {tensor.name for tensor in net.parameters}
    missing = set(expected) - kept
    assert missing == {inputs_name(layers_of(graph)[0].name)}  # nobody asks for that gradient
    for name in kept:
        close(net.parameter(name), expected[name])


@shared_only
@pytest.mark.parametrize("path", INT8_WATCH, ids=lambda path: path.stem)
def test_int8_layers_are_measured_as_fake_quantisation_differentiates(tmp_path, path):
    graph = import_model(path)
    references = [clearest(graph, seed) for seed in range(2)]
    net, of = measured(graph, [(r.x, r.label) for r in references], tmp_path)
    expected: dict[str, np.ndarray] = {}
    for reference in references:
        constants = fake_quantized.leaves(graph)
        given = {graph.inputs[0]: torch.tensor(reference.x).double()}
        values = fake_quantized.run(graph, constants, given)
        outputs = [n.outputs[0] for n in layers_of(graph)]
        logits = values[logits_of(graph)].reshape(1, -1)
        loss = functional.cross_entropy(logits, torch.tensor([reference.label]))
        gradients = torch.autograd.grad(loss, [values[name] for name in outputs])
        for node, name, gradient in zip(layers_of(graph), outputs, gradients, strict=True):
            g, a = gradient.numpy(), values[name].detach().numpy()
            others = tuple(axis for axis in range(g.ndim) if axis != (1 if g.ndim == 4 else -1))
            sums = {delta_name: (g * a).sum(others), shift_name: g.sum(others)}
            for state, value in sums.items():
                expected[state(node.name)] = expected.get(state(node.name), 0) + value**2
    assert len(of.layers) > 3
    for layer in of.layers:
        close(net.parameter(delta_name(layer)), expected[delta_name(layer)])
        close(net.parameter(shift_name(layer)), expected[shift_name(layer)])


def on_machine(model: Path, folder: Path, machine: tuple[str, str, str]) -> list[bytes]:
    """The sums of a firmware whose step measures all layers and learns nothing."""
    compiler, name, port = machine
    if port == "qemu":
        require_tool("qemu-system-arm")
    prepared, board, plan = prepare(model, Changes()), load_board(name), UpdatePlan()
    lowered = lower(prepared, plan, board)
    training = differentiate(lowered.graph, lowered.plan, measured=everything(lowered.graph))
    lowered = replace(lowered, training=training, arena=plan_arena(training))
    network = render_network(training, lowered.arena, plan, source="a test", version="0")
    manifest = manifest_of("a test", prepared, lowered, network)
    project = folder / f"{compiler}-{name}"
    project.mkdir()
    write_project(render_project(manifest, network, board_of(manifest), prepared.data), project)
    remember_sources(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYODL_COMPILER", compiler)
        build(project, board, optimised=True)
    transport = connect(project, port)
    try:
        client = Client(transport, manifest)
        for x, label in zip(*(part[:SAMPLES] for part in digits()), strict=True):
            client.train(x, int(label))
        return [client.read_parameter(p.index).tobytes() for p in manifest.parameters]
    finally:
        transport.close()


@pytest.mark.parametrize(("network", "boards"), [(residual_network, [2]), (pointwise_network, [5])])
def test_delta_has_the_same_bits_on_every_machine(tmp_path, network, boards):
    require_tool("arm-none-eabi-gcc")
    model = network(tmp_path / "net.onnx")
    machines = [MACHINES[i] for i in (0, *boards)]
    ended = [on_machine(model, tmp_path, machine) for machine in machines]
    assert len(ended[0]) > 3 and any(np.frombuffer(raw, np.float32).any() for raw in ended[0])
    for other in ended[1:]:
        assert other == ended[0]


def test_a_fresh_head_learns_first_so_that_the_layers_before_it_are_seen():
    from tests.test_learners import person
    from tinyodl.frontend import parse_head

    head = replace(parse_head("dense:7"), zero=True)
    prepared = prepare(WATCH, Changes(head=head))
    found = importance(prepared, UpdatePlan(), Samples(*person(8, "learn")))
    assert all(layer.whole > 0 for layer in found.layers.values())
