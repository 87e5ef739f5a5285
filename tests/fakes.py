"""Small records made by hand, for tests of the parts that only read them."""

from __future__ import annotations

from typing import Any

from tinyodl.graph import Phase, Storage
from tinyodl.project import manifest as mf
from tinyodl.project.plan import UpdatePlan
from tinyodl.runs.record import RunRecord, Step


def manifest(
    input_shape: tuple[int, ...] = (1, 2),
    classes: int = 3,
    *,
    board: str = "nrf52840_dk",
    **plan: Any,
) -> mf.Manifest:
    """One Gemm that learns, from `input_shape` (with batch) to `classes` outputs."""
    shape = (classes, 2)
    layer = mf.LayerRecord(
        name="gemm",
        op="Gemm",
        output_shape=(1, classes),
        parameters=3 * classes,
        macs=2 * classes,
        updates="weights",
    )
    tensors = (
        mf.TensorRecord(
            name="x", shape=input_shape, offset=0, bytes=8, first=-1, last=2, phase=Phase.FORWARD
        ),
        mf.TensorRecord(
            name="logits", shape=(1, classes), offset=8, bytes=4 * classes, first=0, last=2,
            phase=Phase.FORWARD,
        ),
        mf.TensorRecord(
            name="logits.grad", shape=(1, classes), offset=8 + 4 * classes, bytes=4 * classes,
            first=1, last=2, phase=Phase.BACKWARD,
        ),
    )  # fmt: skip
    return mf.Manifest(
        format=mf.FORMAT,
        tinyodl="0.1.0",
        model_id="00112233445566ff",
        protocol=1,
        board=board,
        model=mf.ModelRecord(
            source="small.onnx",
            sha256="0" * 64,
            input_name="x",
            input_shape=input_shape,
            output_name="logits",
            output_shape=(1, classes),
            macs=2 * classes,
        ),
        plan=UpdatePlan.model_validate({"layers": {"gemm": "weights"}} | plan),
        layers=(layer,),
        parameters=(
            mf.ParameterRecord(
                index=0, name="w", shape=shape, dtype="float32", bytes=8 * classes,
                storage=Storage.PARAMETER, origin=None,
            ),
        ),
        schedule=(
            mf.NodeRecord(op="Gemm", name="gemm", phase=Phase.FORWARD, macs=2 * classes,
                          inputs=("x",), outputs=("logits",)),
            mf.NodeRecord(op="CrossEntropy", name="loss", phase=Phase.BACKWARD, macs=0,
                          inputs=("logits",), outputs=("logits.grad",)),
            mf.NodeRecord(op="GemmUpdate", name="gemm.update", phase=Phase.UPDATE,
                          macs=2 * classes, inputs=("logits.grad", "x"), outputs=()),
        ),
        arena=mf.ArenaRecord(bytes=32, lower_bound=32, tensors=tensors),
        ram=mf.MemoryRecord(parts={"arena": 32, "parameters": 24, "stack": 2048}, total=2104),
        flash=mf.MemoryRecord(parts={"code": 9000, "weights": 36}, total=9036),
        macs=mf.MacsRecord(forward=2 * classes, backward=classes, update=2 * classes),
    )  # fmt: skip


def record(**changes: Any) -> RunRecord:
    """A finished run's record."""
    fields: dict[str, Any] = {
        "tinyodl": "0.1.0",
        "status": "done",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "project": "watch",
        "model_id": "00112233445566ff",
        "board": "nrf52840_dk",
        "port": "virtual",
        "data": "learn.npz",
        "samples_in_data": 6,
        "eval_data": None,
        "epochs": 1,
        "limit": None,
        "shuffle": None,
        "learning_rate": 0.01,
        "steps_before": 0,
        "clock_hz": 64_000_000,
        "time_source": "modelled cycles of the virtual board",
        "energy_source": "estimated: 3 V x 5 mA x time (a table)",
        "linked": None,
    }
    return RunRecord.model_validate(fields | changes)


def step(index: int, **changes: Any) -> Step:
    """A step whose prediction is right when its index is even."""
    fields: dict[str, Any] = {
        "step": index,
        "epoch": 0,
        "sample": index,
        "label": index % 3,
        "predicted": index % 3 if index % 2 == 0 else (index + 1) % 3,
        "loss": 1.0 / (index + 1),
        "cycles": (1000 + index, 200, 300),
        "instructions": (700, 100, 150),
        "ms": 0.5,
        "mj": 0.01,
    }
    return Step.model_validate(fields | changes)
