"""Dense layers and matrix products, forward and backward, against PyTorch in float64."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.frontend.models import model, node
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, small, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model

sizes = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 6))
OPERANDS = {"both computed": (), "left constant": ("a",), "right constant": ("b",)}


@check
@given(seed=seeds, rows=st.integers(2, 6), n=st.integers(1, 8), k=small, bias=st.booleans())
def test_a_dense_layer_on_several_rows(tmp_path, seed, rows, n, k, bias):
    inputs = {
        "x": values(seed, 1, rows, k),
        "w": values(seed + 1, n, k),
        "b": values(seed + 2, n) if bias else None,
    }
    weights = ("w", "b") if bias else ("w",)

    def linear(x, w, b=None):
        return torch.nn.functional.linear(x, w, b)

    compare(tmp_path, "Gemm", inputs, linear, weights=weights)


def product(attrs):
    def reference(a, b):
        a = a.transpose(-1, -2) if attrs["trans_a"] else a
        b = b.transpose(-1, -2) if attrs["trans_b"] else b
        return attrs["alpha"] * (a @ b)

    return reference


@check
@given(
    seed=seeds,
    size=sizes,
    transposed=st.tuples(st.booleans(), st.booleans()),
    alpha=st.sampled_from([1.0, -0.5, 0.0]),
    weights=st.sampled_from(list(OPERANDS.values())),
)
def test_a_product_of_matrices(tmp_path, seed, size, transposed, alpha, weights):
    rows, inner, columns = size
    a = (inner, rows) if transposed[0] else (rows, inner)
    b = (columns, inner) if transposed[1] else (inner, columns)
    attrs = {"trans_a": transposed[0], "trans_b": transposed[1], "alpha": alpha}
    inputs = {"a": values(seed, *a), "b": values(seed + 1, *b)}
    compare(tmp_path, "MatMul", inputs, product(attrs), attrs, weights)


@check
@given(
    seed=seeds,
    size=sizes,
    batch=st.lists(st.tuples(small, st.sampled_from(["both", "a", "b"])), min_size=1, max_size=3),
    left_out=st.integers(0, 3),
    transposed=st.tuples(st.booleans(), st.booleans()),
    weights=st.sampled_from(list(OPERANDS.values())),
)
def test_a_product_of_broadcast_batches(tmp_path, seed, size, batch, left_out, transposed, weights):
    """Each axis before the matrices is in both operands, or of size 1, or left out in one."""
    rows, inner, columns = size
    shapes = {
        of: tuple(count if who in ("both", of) else 1 for count, who in batch) for of in ("a", "b")
    }
    while left_out and shapes["b"] and shapes["b"][0] == 1:
        shapes["b"], left_out = shapes["b"][1:], left_out - 1
    a = (*shapes["a"], *((inner, rows) if transposed[0] else (rows, inner)))
    b = (*shapes["b"], *((columns, inner) if transposed[1] else (inner, columns)))
    attrs = {"trans_a": transposed[0], "trans_b": transposed[1], "alpha": 1.0}
    inputs = {"a": values(seed, *a), "b": values(seed + 1, *b)}
    compare(tmp_path, "MatMul", inputs, product(attrs), attrs, weights)


def two_inputs(made_node, shapes, constants=None):
    """A model whose input is cut into operands: by a frozen product each, and a Reshape."""
    nodes, held, start = [], dict(constants or {}), 0
    total = sum(prod(shape) for shape in shapes.values())
    for name, shape in shapes.items():
        held[f"{name}.shape"] = np.array(shape, np.int64)
        held[f"{name}.part"] = np.eye(total, prod(shape), -start, dtype=np.float32)
        nodes.append(node("MatMul", ["x", f"{name}.part"], f"{name}.flat"))
        nodes.append(node("Reshape", [f"{name}.flat", f"{name}.shape"], name))
        start += prod(shape)
    return model([*nodes, made_node], [1, total], held)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4,), (4,)),
        ((4,), (4, 3)),
        ((2, 4), (4,)),
        ((2, 4), (4, 3)),
        ((5, 2, 4), (4,)),
        ((4,), (5, 4, 3)),
        ((5, 2, 4), (4, 3)),
        ((2, 4), (5, 4, 3)),
        ((5, 1, 2, 4), (1, 3, 4, 3)),
    ],
)
def test_matmul_of_vectors_matrices_and_batches_is_imported(tmp_path, a, b):
    for constant in ("", "a", "b"):
        shapes = {"a": a, "b": b}
        held = {constant: values(1, *shapes.pop(constant))} if constant else {}
        made = two_inputs(node("MatMul", ["a", "b"], "y", "product"), shapes, held)
        same_as_onnxruntime(made, tmp_path / f"constant {constant}")


FORMS = [
    *((c, "", (0, 0)) for c in [(), (1,), (3,), (1, 3), (2, 1), (2, 3), None]),
    *((c, "bc", (0, 1)) for c in [(), (1,), (3,), (1, 3), (2, 1), (2, 3)]),
    *(((1, 3), constants, (1, 1)) for constants in ("", "b", "bc", "c", "a")),
]


@pytest.mark.parametrize(("c", "constants", "transposed"), FORMS)
def test_gemm_in_all_its_forms_is_imported(tmp_path, c, constants, transposed):
    shapes = {"a": (4, 2) if transposed[0] else (2, 4), "b": (3, 4) if transposed[1] else (4, 3)}
    if c is not None:
        shapes["c"] = c
    held = {name: values(ord(name), *shapes.pop(name)) for name in constants if name in shapes}
    attrs = {"transA": transposed[0], "transB": transposed[1], "alpha": 0.5, "beta": -2.0}
    names = ["a", "b"] + (["c"] if c is not None else [])
    made = two_inputs(node("Gemm", names, "y", "product", **attrs), shapes, held)
    same_as_onnxruntime(made, tmp_path)


def test_alpha_zero_leaves_what_is_added(tmp_path):
    held = {"b": values(1, 4, 3), "c": values(2, 3)}
    made = two_inputs(node("Gemm", ["a", "b", "c"], "y", alpha=0.0), {"a": (2, 4)}, held)
    same_as_onnxruntime(made, tmp_path)


def test_a_linear_layer_on_a_sequence_is_one_layer_with_its_bias(tmp_path):
    """PyTorch's exporters write MatMul and Add for it."""
    nodes = [node("MatMul", ["x", "w"], "p", "linear"), node("Add", ["p", "b"], "y", "bias")]
    made = model(nodes, [1, 5, 4], {"w": values(1, 4, 3), "b": values(2, 3)})
    graph = same_as_onnxruntime(made, tmp_path)
    assert [n.op for n in graph.nodes] == ["Gemm"]


def test_matrices_that_do_not_match_are_named(tmp_path):
    made = model(
        [node("MatMul", ["x", "w"], "y", "product")], [1, 5], {"w": values(1, 4, 3)}, rank=2
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="product"):
        import_model(path)
