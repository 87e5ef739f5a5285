"""RNN, GRU and LSTM through time, forward and backward, against PyTorch's own in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.frontend.models import model
from tests.ops.imported import same_as_onnxruntime
from tests.ops.test_gradients import check, compare, seeds, small, values
from tinyodl.errors import ModelError
from tinyodl.frontend import import_model

GATES = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}
PYTORCH = {"RNN": "h", "GRU": "rzn", "LSTM": "ifgo"}


def draw(op, seed, *, steps, batch, inputs, hidden, directions, bias, first, layout):
    rows = len(GATES[op]) * hidden
    state = (batch, directions, hidden) if layout else (directions, batch, hidden)
    x = (batch, steps, inputs) if layout else (steps, batch, inputs)
    spread = 1 / np.sqrt(hidden)
    drawn = {
        "x": values(seed, *x),
        "w": values(seed + 1, directions, rows, inputs, spread=0.7),
        "r": values(seed + 2, directions, rows, hidden, spread=spread),
        "b": values(seed + 3, directions, 2 * rows, spread=0.5) if bias else None,
        "h": values(seed + 4, *state) if first else None,
    }
    if op == "LSTM":
        drawn["c"] = values(seed + 5, *state) if first else None
    return drawn


def reordered(op, rows):
    """Rows of ONNX's gate order as PyTorch orders them."""
    parts = dict(zip(GATES[op], rows.chunk(len(GATES[op])), strict=True))
    return torch.cat([parts[gate] for gate in PYTORCH[op]])


def pytorch(op, attrs):
    """PyTorch's RNN as a function of ONNX's inputs; all outputs flat, one after the other."""

    def reference(x, w, r, b=None, h=None, c=None):
        directions, rows, hidden = w.shape[0], w.shape[1], r.shape[-1]
        layout = attrs["layout"]
        x = x.transpose(0, 1) if layout else x
        x = x.flip(0) if attrs["reverse"] else x
        flat = []
        for d in range(directions):
            flat += [reordered(op, w[d]), reordered(op, r[d])]
            if b is not None:
                flat += [reordered(op, b[d, :rows]), reordered(op, b[d, rows:])]
        zero = torch.zeros(directions, x.shape[1], hidden, dtype=x.dtype)
        first = [
            zero if s is None else s.transpose(0, 1) if layout else s
            for s in ((h, c) if op == "LSTM" else (h,))
        ]
        given = (flat, b is not None, 1, 0.0, False, directions == 2, False)
        if op == "RNN":
            run = torch.rnn_relu if attrs["relu"] else torch.rnn_tanh
        else:
            run = torch.lstm if op == "LSTM" else torch.gru
        y, *last = run(x, first if op == "LSTM" else first[0], *given)
        y = y.flip(0) if attrs["reverse"] else y
        y = y.reshape(*y.shape[:2], directions, hidden)  # steps, batch, directions, hidden
        y = y.transpose(0, 1) if layout else y.transpose(1, 2)
        last = [state.transpose(0, 1) if layout else state for state in last]
        return torch.cat([part.reshape(1, -1) for part in (y, *last)], 1)

    return reference


sizes = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 5),
        "batch": st.integers(1, 2),
        "inputs": small,
        "hidden": st.integers(1, 4),
        "bias": st.booleans(),
        "first": st.booleans(),
        "layout": st.integers(0, 1),
    }
)
directions = st.sampled_from(["forward", "reverse", "bidirectional"])


def compare_recurrent(folder, op, seed, size, direction, attrs, reference=None):
    attrs = {"layout": size["layout"], "reverse": int(direction == "reverse"), **attrs}
    inputs = draw(op, seed, directions=1 + (direction == "bidirectional"), **size)
    weights = tuple(name for name in ("w", "r", "b") if inputs[name] is not None)
    used = (0, 1, 2) if op == "LSTM" else (0, 1)
    # The gradients of all steps meet: cancelled terms are of the size of the largest one.
    compare(
        folder,
        op,
        inputs,
        reference or pytorch(op, attrs),
        attrs,
        weights,
        used=used,
        terms=lambda gy: gy.abs().sum().item(),
    )


@check
@given(seed=seeds, size=sizes, direction=directions)
def test_rnn(tmp_path, seed, size, direction):
    compare_recurrent(tmp_path, "RNN", seed, size, direction, {"relu": 0})


def test_rnn_with_relu(tmp_path):
    size = {"steps": 4, "batch": 2, "inputs": 3, "hidden": 5, "bias": True, "first": True}
    compare_recurrent(tmp_path, "RNN", 3, size | {"layout": 0}, "bidirectional", {"relu": 1})


@check
@given(seed=seeds, size=sizes, direction=directions)
def test_lstm(tmp_path, seed, size, direction):
    compare_recurrent(tmp_path, "LSTM", seed, size, direction, {})


@check
@given(seed=seeds, size=sizes, direction=directions)
def test_gru_with_the_reset_after_the_product(tmp_path, seed, size, direction):
    compare_recurrent(tmp_path, "GRU", seed, size, direction, {"linear_before_reset": 1})


@check
@given(seed=seeds, size=sizes)
def test_gru_with_the_reset_before_the_product(tmp_path, seed, size):
    """ONNX's default, which PyTorch's GRU does not have: written out with PyTorch's operators."""

    def reference(x, w, r, b=None, h=None):
        x = x.transpose(0, 1) if size["layout"] else x
        (w,), (r,) = w, r
        hidden = r.shape[-1]
        wb, rb = (0.0, 0.0) if b is None else b[0].chunk(2)
        state = torch.zeros(x.shape[1], hidden, dtype=x.dtype)
        if h is not None:
            state = h[:, 0] if size["layout"] else h[0]
        states = []
        for x_t in x:
            from_x, from_h = x_t @ w.T + wb, state @ r[: 2 * hidden].T
            from_b = rb if isinstance(rb, float) else rb[: 2 * hidden]
            z, reset = torch.sigmoid(from_x[:, : 2 * hidden] + from_h + from_b).chunk(2, 1)
            from_b = rb if isinstance(rb, float) else rb[2 * hidden :]
            product = (reset * state) @ r[2 * hidden :].T + from_b
            n = torch.tanh(from_x[:, 2 * hidden :] + product)
            state = (1 - z) * n + z * state
            states.append(state)
        y = torch.stack(states, 1 if size["layout"] else 0)
        return torch.cat([y.reshape(1, -1), state.reshape(1, -1)], 1)

    attrs = {"linear_before_reset": 0}
    compare_recurrent(tmp_path, "GRU", seed, size, "forward", attrs, reference)


def recurrent_model(op, *, direction="forward", opset=17, outputs=1, constants=(), **attrs):
    """A file with one recurrent node on a sequence (4, 2, 3), hidden size 5; its last output."""
    directions = 2 if direction == "bidirectional" else 1
    drawn = draw(
        op,
        11,
        steps=4,
        batch=2,
        inputs=3,
        hidden=5,
        directions=directions,
        bias=True,
        first=True,
        layout=0,
    )
    drawn["shape"] = np.array([4, 2, 3])
    del drawn["x"]
    names = ["sequence", "w", "r", "b", "", "h", *(["c"] if op == "LSTM" else [])]
    made = [f"y{i}" for i in range(outputs - 1)] + ["y"]
    node = helper.make_node(
        op, names, made, name="layer", hidden_size=5, direction=direction, **attrs
    )
    sequence = helper.make_node("Reshape", ["x", "shape"], ["sequence"])
    return model([sequence, node], [1, 24], drawn, opset)


@pytest.mark.parametrize("opset", [11, 14, 22])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_all_outputs_agree_with_onnxruntime(tmp_path, op, direction, opset):
    for outputs in (1, 2, 3) if op == "LSTM" else (1, 2):
        made = recurrent_model(op, direction=direction, opset=opset, outputs=outputs)
        same_as_onnxruntime(made, tmp_path / str(outputs))


@pytest.mark.parametrize("after", [0, 1])
def test_both_kinds_of_gru_agree_with_onnxruntime(tmp_path, after):
    same_as_onnxruntime(recurrent_model("GRU", linear_before_reset=after), tmp_path)


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"clip": 1.0}, "clip is 1.0"),
        ({"activations": ["Sigmoid", "Relu"]}, "activations are sigmoid, relu"),
        ({"activation_alpha": [0.5]}, "activation_alpha"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, attrs, said):
    path = tmp_path / "model.onnx"
    path.write_bytes(recurrent_model("GRU", **attrs).SerializeToString())
    with pytest.raises(ModelError, match=said):
        import_model(path)
