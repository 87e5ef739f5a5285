"""Operators on each element by itself: against PyTorch in float64, and imported as onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests.frontend.models import model, node
from tests.hostnet import HostNet
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_arithmetic import pairs
from tests.ops.test_gradients import compare, seeds, separated, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model
from tinyodl.project.plan import UpdatePlan

few = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
numbers = st.sampled_from([0.25, 1.0, 1.75])


def forward(made, folder, x):
    """What the generated C makes of one row."""
    path = folder / "a.onnx"
    path.write_bytes(made.SerializeToString())
    net = HostNet(import_model(path), UpdatePlan(loss="mse"), folder / "net")
    return net.forward(np.asarray([x], np.float32))[0]


def largest(gy):
    return gy.abs().max().item()


# Smooth ones, on values around 0 and far out. {constants: drawn}, what PyTorch computes.
SMOOTH = {
    "Sigmoid": ((), torch.sigmoid),
    "Tanh": ((), torch.tanh),
    "Softplus": ((), lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "Erf": ((), torch.erf),
    "Gelu": ((), functional.gelu),
    "GeluTanh": ((), lambda x: functional.gelu(x, approximate="tanh")),
    "Swish": (("alpha",), lambda x, alpha: x * torch.sigmoid(alpha * x)),
    "Mish": ((), lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))),
    "Exp": ((), torch.exp),
    "Neg": ((), torch.neg),
}


@few
@pytest.mark.parametrize("op", SMOOTH)
@given(seed=seeds, shape=shapes, spread=st.sampled_from([0.1, 1.0, 8.0]), data=st.data())
def test_smooth(tmp_path, op, seed, shape, spread, data):
    names, reference = SMOOTH[op]
    attrs = {name: data.draw(numbers) for name in names}
    inputs = {"x": values(seed, *shape, spread=spread)}
    compare(tmp_path, op, inputs, lambda x: reference(x, **attrs), attrs, terms=largest)


# With a kink, whose place the drawn values avoid.
KINKED = {
    "LeakyRelu": (("alpha",), lambda x, alpha: functional.leaky_relu(x, alpha)),
    "ThresholdedRelu": (("alpha",), lambda x, alpha: functional.threshold(x, alpha, 0.0)),
    "HardSigmoid": (("alpha", "beta"), lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1)),
    "HardSwish": ((), functional.hardswish),
    "Softsign": ((), functional.softsign),
    "Abs": ((), torch.abs),
    "Elu": (
        ("gain", "alpha", "rate"),
        lambda x, gain, alpha, rate: torch.where(x > 0, gain * x, alpha * torch.expm1(rate * x)),
    ),
}


@few
@pytest.mark.parametrize("op", KINKED)
@given(seed=seeds, shape=shapes, stretch=st.sampled_from([1.0, 9.0]), data=st.data())
def test_kinked(tmp_path, op, seed, shape, stretch, data):
    names, reference = KINKED[op]
    attrs = {name: data.draw(st.sampled_from([0.105, 0.505, 1.253])) for name in names}
    inputs = {"x": separated(seed, *shape) * np.float32(stretch)}
    compare(tmp_path, op, inputs, lambda x: reference(x, **attrs), attrs, terms=largest)


@few
@pytest.mark.parametrize("op", ["LeakyRelu", "ThresholdedRelu"])
@given(seed=seeds, alpha=st.sampled_from([-0.305, 0.0]))
def test_slopes_and_thresholds_that_are_not_positive(tmp_path, op, seed, alpha):
    reference = KINKED[op][1]
    inputs = {"x": separated(seed, 1, 40)}
    compare(tmp_path, op, inputs, lambda x: reference(x, alpha), {"alpha": alpha})


POSITIVE = {"Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal}


@few
@pytest.mark.parametrize("op", POSITIVE)
@given(seed=seeds, shape=shapes, spread=st.sampled_from([0.1, 3.0]))
def test_positive(tmp_path, op, seed, shape, spread):
    inputs = {"x": np.exp(values(seed, *shape, spread=spread))}
    compare(tmp_path, op, inputs, POSITIVE[op], terms=lambda gy: 1e-4)


@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.0, -1.0, -2.0, 7.0, 1.0])
def test_whole_powers_of_any_sign(tmp_path, exponent):
    inputs = {"x": separated(3, 1, 60)}
    compare(tmp_path, "Power", inputs, lambda x: x**exponent, {"exponent": exponent})


@pytest.mark.parametrize("exponent", [0.5, 1.5, -0.5, -1.5, 0.3, -0.3, 2.7, -3.141, 20.25])
def test_broken_powers_of_positive_values(tmp_path, exponent):
    inputs = {"x": np.exp(values(5, 1, 60, spread=1.0 if exponent < 9 else 0.3))}
    compare(tmp_path, "Power", inputs, lambda x: x**exponent, {"exponent": exponent})


def test_the_power_of_a_negative_value_by_a_broken_exponent_is_not_a_number(tmp_path):
    made = model([node("Pow", ["x", "c"], "y")], [1, 4], {"c": np.float32(1.2)})
    y = forward(made, tmp_path, [0.0, -1.0, 1.0, 4.0])
    np.testing.assert_allclose(y, [0.0, np.nan, 1.0, 4**1.2], rtol=1e-6)


def test_the_logarithm_outside_the_positive_numbers(tmp_path):
    tiny = float(np.float32(1e-42))
    y = forward(model([node("Log", ["x"], "y")], [1, 4]), tmp_path, [0.0, -1.0, np.inf, tiny])
    np.testing.assert_allclose(y, [-np.inf, np.nan, np.inf, np.log(tiny)], rtol=1e-6)


ONNX_NODES = [
    node("LeakyRelu", ["x"], "y"),
    node("LeakyRelu", ["x"], "y", alpha=0.3),
    node("LeakyRelu", ["x"], "y", alpha=-0.3),
    node("Elu", ["x"], "y"),
    node("Elu", ["x"], "y", alpha=2.0),
    node("Selu", ["x"], "y"),
    node("Selu", ["x"], "y", alpha=2.0, gamma=3.0),
    node("Celu", ["x"], "y"),
    node("Celu", ["x"], "y", alpha=2.0),
    node("Sigmoid", ["x"], "y"),
    node("HardSigmoid", ["x"], "y"),
    node("HardSigmoid", ["x"], "y", alpha=0.4, beta=0.3),
    node("HardSwish", ["x"], "y"),
    node("Tanh", ["x"], "y"),
    node("Erf", ["x"], "y"),
    node("Gelu", ["x"], "y"),
    node("Gelu", ["x"], "y", approximate="tanh"),
    node("Softplus", ["x"], "y"),
    node("Softsign", ["x"], "y"),
    node("ThresholdedRelu", ["x"], "y"),
    node("ThresholdedRelu", ["x"], "y", alpha=0.2),
    node("Mish", ["x"], "y"),
    node("Exp", ["x"], "y"),
    node("Abs", ["x"], "y"),
    node("Neg", ["x"], "y"),
    node("Reciprocal", ["x"], "y"),
]


@pytest.mark.parametrize(
    "made",
    ONNX_NODES,
    ids=[" ".join([n.op_type, *(a.name for a in n.attribute)]) for n in ONNX_NODES],
)
def test_imported(tmp_path, made):
    same_as_onnxruntime(model([made], [1, 3, 4, 2], opset=20), tmp_path)


@pytest.mark.parametrize(
    "exponent",
    [
        *(np.float32(2), np.int64([3]), np.float32(0.5), np.float64(1), np.int32(-1)),
        *(np.float32(0), np.float32([[[2.5]]]), np.int64([0, 1, 2, 3, 4, 5, 6])),
    ],
)
def test_pow_is_imported(tmp_path, exponent):
    made = model([node("Abs", ["x"], "a"), node("Pow", ["a", "c"], "y")], [1, 7], {"c": exponent})
    same_as_onnxruntime(made, tmp_path)


def test_functions_of_constants_are_folded(tmp_path):
    held = {"c": np.float32([1, 2, 3, 4]), "p": np.float32(1.5)}
    nodes = [
        node("Exp", ["c"], "e"),
        node("Log", ["c"], "l"),
        node("Pow", ["e", "p"], "r"),
        node("Sum", ["r", "l", "c"], "s"),
        node("Mul", ["x", "s"], "y"),
    ]
    graph = same_as_onnxruntime(model(nodes, [1, 4], held), tmp_path)
    assert [n.op for n in graph.nodes] == ["Mul"]


@few
@given(seed=seeds, shapes=pairs)
def test_powers_of_two_tensors(tmp_path, seed, shapes):
    base, exponent = shapes
    inputs = {"a": np.exp(values(seed, *base, spread=0.5)), "b": values(seed + 1, *exponent)}
    terms = lambda gy: gy.abs().max().item() * 64  # noqa: E731
    compare(tmp_path, "Pow", inputs, lambda a, b: a**b, terms=terms)


@pytest.mark.parametrize("constant", ["a", "b"])
def test_powers_with_one_constant_tensor(tmp_path, constant):
    inputs = {"a": np.exp(values(1, 3, 1)), "b": np.float32([0, 1, 2, -1, 0.5, -2.7])}
    compare(tmp_path, "Pow", inputs, lambda a, b: a**b, constants=(constant,))


def test_whole_exponents_of_negative_and_of_no_size(tmp_path):
    """Where PyTorch gives a number, also at 0."""
    inputs = {"a": np.float32([-2, -0.5, 0, 0, 3]), "b": np.float32([3, -2, 0, 2, 1])}
    compare(tmp_path, "Pow", inputs, lambda a, b: a**b, constants=("b",))


def test_gelu_written_out_as_pytorch_does_is_imported(tmp_path):
    held = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    nodes = [
        node("Div", ["x", "root"], "a"),
        node("Erf", ["a"], "b"),
        node("Add", ["b", "one"], "c"),
        node("Mul", ["x", "c"], "d"),
        node("Mul", ["d", "half"], "y"),
    ]
    same_as_onnxruntime(model(nodes, [1, 3, 5], held), tmp_path)


def test_a_cast_to_float32_disappears(tmp_path):
    nodes = [node("Cast", ["x"], "f", to=TensorProto.FLOAT), node("Neg", ["f"], "y")]
    graph = same_as_onnxruntime(model(nodes, [1, 4]), tmp_path)
    assert [n.op for n in graph.nodes] == ["Neg"]


def test_a_cast_of_computed_values_to_another_type_is_refused(tmp_path):
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    nodes = [node("Cast", ["x"], "h", "n", to=half), node("Cast", ["h"], "y", to=single)]
    with pytest.raises(ModelError, match="Cast 'n': it makes float16"):
        forward(model(nodes, [1, 4]), tmp_path, [0.0] * 4)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_constants_of_other_float_types_can_be_cast(tmp_path, dtype):
    nodes = [node("Cast", ["c"], "f", to=TensorProto.FLOAT), node("Add", ["x", "f"], "y")]
    same_as_onnxruntime(model(nodes, [1, 4], {"c": np.asarray([1, 2, 3, 0.1], dtype)}), tmp_path)


@pytest.mark.parametrize(
    "made, held, words",
    [
        (node("Elu", ["x"], "y", "n", alpha=-1.0), {}, "it has alpha -1.0"),
        (node("Celu", ["x"], "y", "n", alpha=0.0), {}, "alpha is 0"),
        (node("Pow", ["x", "c"], "y", "n"), {"c": np.float32(200)}, "its exponent is 200"),
    ],
)
def test_refused(tmp_path, made, held, words):
    with pytest.raises(ModelError) as caught:
        forward(model([made], [1, 4], held, rank=2), tmp_path, [0.0] * 4)
    assert words in str(caught.value)
