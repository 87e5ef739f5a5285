"""The numeric contract: one stream gives the same bits on every machine, from every compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.models import ROOT, SHIPPED, name, shared_only
from tinyodl.device.client import Client
from tinyodl.device.codes import Flag
from tinyodl.device.connect import connect
from tinyodl.targets.boards import load_board

DIGITS = Path(__file__).parent.parent / "data" / "sklearn_digits_8x8.npz"
STEPS = 200

# (compiler, board, port)
MACHINES = [
    ("gcc", "host", "host"),
    ("zig", "host", "host"),
    ("gcc", "nrf52840_dk", "virtual"),
    ("zig", "nrf52840_dk", "virtual"),
    ("gcc", "netduinoplus2", "virtual"),
    ("gcc", "netduinoplus2", "qemu"),
    ("zig", "netduinoplus2", "qemu"),
    ("gcc", "nucleo_l4r5zi", "virtual"),
    ("zig", "nucleo_l476rg", "virtual"),
]


def residual_network(path: Path) -> Path:
    """A small network with every kind of layer that learns, on 8x8 digits."""
    rng = np.random.default_rng(3)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        value = rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))
        return numpy_helper.from_array(value.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("MaxPool", ["r0"], ["p0"], "pool0", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p0", "w1", "b1"], ["c1"], "depthwise", pads=[1] * 4, group=8),
        helper.make_node("Clip", ["c1", "zero", "six"], ["r1"], "relu6"),
        helper.make_node("Add", ["p0", "r1"], ["a1"], "residual"),
        helper.make_node("GlobalAveragePool", ["a1"], ["g"], "pool1"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["logits"], "dense", transB=1),
        helper.make_node("Softmax", ["logits"], ["y"], "softmax"),
    ]
    constants = [
        constant("w0", 8, 1, 3, 3),
        constant("b0", 8),
        constant("w1", 8, 1, 3, 3),
        constant("b1", 8),
        constant("w2", 10, 8),
        constant("b2", 10),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(6), "six"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def pointwise_network(path: Path) -> Path:
    """A small network whose int8 layers learn as pointwise and dense ones, with odd sizes."""
    rng = np.random.default_rng(4)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        value = rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))
        return numpy_helper.from_array(value.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "pointwise"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "some"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Flatten", ["r2"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], "dense", transB=1),
        helper.make_node("Softmax", ["logits"], ["y"], "softmax"),
    ]
    shapes = {"0": (6, 1, 4, 4), "1": (21, 6, 1, 1), "2": (7, 21, 1, 1), "3": (10, 63)}
    constants = [constant(f"w{n}", *shape) for n, shape in shapes.items()]
    constants += [constant(f"b{n}", shape[0]) for n, shape in shapes.items()]
    graph = helper.make_graph(
        nodes,
        "pointwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(DIGITS) as data:
        return data["x"][:STEPS].reshape(-1, 1, 8, 8).astype(np.float32) / 16, data["y"][:STEPS]


@dataclass(frozen=True)
class Learned:
    """What a machine ended with."""

    losses: list[float]
    parameters: list[bytes]


def train(
    model: Path,
    folder: Path,
    machine: tuple[str, str, str],
    samples: tuple[np.ndarray, np.ndarray] | None = None,
    **options: object,
) -> Learned:
    """Compile, build and train on samples, or on digits in the order of the file."""
    compiler, board, port = machine
    if port == "qemu":
        require_tool("qemu-system-arm")
    project = folder / f"{compiler}-{board}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYODL_COMPILER", compiler)
        manifest = tinyodl.compile(model, board, project, **options)
        build(project, load_board(board), optimised=True)
    x, y = samples or digits()
    transport = connect(project, port)
    try:
        client = Client(transport, manifest)
        losses = [client.train(s, int(label)).loss for s, label in zip(x, y, strict=True)]
        parameters = [client.read_parameter(p.index).tobytes() for p in manifest.parameters]
    finally:
        transport.close()
    return Learned(losses, parameters)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_hundred_full_steps_give_the_same_bits_everywhere(tmp_path, optimizer):
    require_tool("arm-none-eabi-gcc")
    model = residual_network(tmp_path / "residual.onnx")
    rate = 0.05 if optimizer == "sgd" else 0.005
    options = {"update": "full", "optimizer": optimizer, "learning_rate": rate}
    machines = MACHINES if optimizer == "sgd" else MACHINES[:3]
    ended = {m: train(model, tmp_path, m, **options) for m in machines}
    first = ended[machines[0]]
    assert np.mean(first.losses[-50:]) < np.mean(first.losses[:50])
    for machine, learned in ended.items():
        assert learned.losses == first.losses, machine
        assert learned.parameters == first.parameters, machine


def test_bounded_steps_are_the_same_bits_on_a_board(tmp_path):
    """At a rate that reaches the bound: without it the same stream ends elsewhere."""
    require_tool("arm-none-eabi-gcc")
    model = residual_network(tmp_path / "residual.onnx")
    options = {"update": "full", "optimizer": "momentum", "learning_rate": 2.0}
    host, _, board = (machine for machine in MACHINES[:3])
    ended = [train(model, tmp_path, machine, **options) for machine in (host, board)]
    assert ended[0] == ended[1]
    assert ended[0] != train(model, tmp_path / "off", host, **options, bound="off")


@pytest.mark.parametrize(
    "options",
    [
        {"learner": "rls"},
        {"learner": "elm", "hidden": 48, "forgetting": 0.995, "seed": 7},
        {"learner": "slda", "max_classes": 12},
        {"learner": "slda", "forgetting": 0.98},
        {"learner": "ncm", "forgetting": 0.98},
        {"head": "prototypes:12"},
        {"head": "prototypes:12", "shots": 5, "update": "full"},
    ],
    ids=["rls", "elm", "slda", "slda forgets", "ncm", "prototypes", "prototypes that go on"],
)
def test_learners_and_their_heads_learn_the_same_bits_everywhere(tmp_path, options):
    require_tool("arm-none-eabi-gcc")
    model = residual_network(tmp_path / "residual.onnx")
    ended = {m: train(model, tmp_path, m, **options) for m in MACHINES[:4]}
    first = ended[MACHINES[0]]
    assert np.mean(first.losses[-50:]) < np.mean(first.losses[:50])
    for machine, learned in ended.items():
        assert learned == first, machine


@pytest.mark.parametrize("master", ["int16", "float32", "none"])
def test_an_int8_network_learns_the_same_bits_everywhere(tmp_path, master):
    """Every kind of int8 layer, whole and in some channels, its masters, and a float32 head."""
    require_tool("arm-none-eabi-gcc")
    model = residual_network(tmp_path / "residual.onnx")
    samples = tmp_path / "digits.npz"
    np.savez(samples, x=digits()[0])
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'learning_rate = 0.05\nmaster = "{master}"\n[layers]\nconv0 = {{ outputs = 0.5 }}\n'
        'depthwise = { outputs = [0, 3, 6] }\n"head.dense1" = "weights"\n'
    )
    options = {"precision": "int8", "calibrate": samples, "head": "dense:10", "update": plan}
    machines = MACHINES if master == "int16" else MACHINES[:3]
    ended = {m: train(model, tmp_path, m, **options) for m in machines}
    first = ended[machines[0]]
    assert np.mean(first.losses[-50:]) < np.mean(first.losses[:50])
    for machine, learned in ended.items():
        assert learned.losses == first.losses, machine
        assert learned.parameters == first.parameters, machine


def test_pointwise_and_dense_int8_layers_learn_the_same_bits_everywhere(tmp_path):
    """What is assembly for int16 masters, on boards of both compilers."""
    require_tool("arm-none-eabi-gcc")
    model = pointwise_network(tmp_path / "pointwise.onnx")
    samples = tmp_path / "digits.npz"
    np.savez(samples, x=digits()[0])
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'learning_rate = 0.05\n[layers]\npointwise = "weights"\nsome = { inputs = 0.5 }\n'
        'dense = "weights"\n'
    )
    options = {"precision": "int8", "calibrate": samples, "update": plan}
    ended = {m: train(model, tmp_path, m, **options) for m in MACHINES}
    first = ended[MACHINES[0]]
    assert np.mean(first.losses[-50:]) < np.mean(first.losses[:50])
    for machine, learned in ended.items():
        assert learned == first, machine


@shared_only
def test_mcunet_learns_images_on_a_board_with_256_kb_as_on_the_host(tmp_path):
    """The published sparse scheme at 128x128, twenty steps."""
    require_tool("arm-none-eabi-gcc")
    model = ROOT.parent / "shared" / "models" / "mcunet_5fps_int8.onnx"
    with np.load(ROOT.parent / "shared" / "data" / "cifar10_train4k_lossless.npz") as data:
        images, labels = (data[name][:20] for name in data.files)
    x = (images.transpose(0, 3, 1, 2).repeat(4, 2).repeat(4, 3) - np.float32(128)) / 127.5
    options = {"head": "dense:10", "update": ROOT / "examples/schemes/mcunet-5fps-49KB.toml"}
    ended = [
        train(model, tmp_path, m, (x, labels), **options)
        for m in (("gcc", "host", "host"), ("gcc", "nrf52840_dk", "virtual"))
    ]
    assert ended[0] == ended[1]


@pytest.mark.parametrize("board, port", [("nrf52840_dk", "virtual"), ("netduinoplus2", "qemu")])
@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_boards_compute_what_onnxruntime_computes(tmp_path, path, board, port):
    if port == "qemu":
        require_tool("qemu-system-arm")
    project = tmp_path / "project"
    manifest = tinyodl.compile(path, board, project)
    build(project, load_board(board), optimised=True)
    runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    transport = connect(project, port)
    try:
        client = Client(transport, manifest)
        for seed in range(2):
            x = np.random.default_rng(seed).normal(size=manifest.model.input_shape)
            x = x.astype(np.float32)
            expected = runtime.run(None, {manifest.model.input_name: x})[0]
            scale = np.abs(expected).max()
            found = client.infer(x).reshape(expected.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)
    finally:
        transport.close()


def test_labels_on_request_drift_and_guard_give_the_same_bits_everywhere(tmp_path):
    """What is asked, what is found, what is undone, and all that is kept."""
    require_tool("arm-none-eabi-gcc")
    model = residual_network(tmp_path / "residual.onnx")
    options = {
        **{"query": "auto", "error_budget": 0.3, "drift": True, "guard": "5:0.02"},
        **{"learner": "rls", "forgetting": 0.99},
    }
    quick = {"least_trained": 5, "explore": 2, "error_budget": 0.95}
    quick |= {"drift_window": 2, "drift_warmup": 2, "drift_z": 1}
    ended = []
    for machine in MACHINES[:3]:
        compiler, board, port = machine
        project = tmp_path / f"{compiler}-{board}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TINYODL_COMPILER", compiler)
            manifest = tinyodl.compile(model, board, project, **options)
            build(project, load_board(board), optimised=True)
        transport = connect(project, port)
        try:
            client = Client(transport, manifest)
            for name, value in quick.items():
                client.setting(name, value)
            told = []
            for x, label in zip(*digits(), strict=True):
                asked = client.ask(x)
                told.append((asked.predicted, asked.margin, asked.threshold, asked.flags))
                if asked.wanted:
                    learned = client.learn(int(label))
                    told.append((learned.loss, learned.flags))
            kept = [client.read_parameter(p.index).tobytes() for p in manifest.parameters]
            ended.append((told, client.settle(), kept))
        finally:
            transport.close()
    flags = {flag for each in ended[0][0] for flag in each[-1]}
    assert {Flag.WANTED, Flag.CHANCE, Flag.DRIFT, Flag.HELD_BACK, Flag.RETURNED} <= flags
    assert ended[0] == ended[1] == ended[2]
