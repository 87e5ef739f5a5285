"""From an ONNX file to a project: the same bytes every time, and all or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.models import LARGE, ROOT, SHIPPED, WATCH, name, shared_only
from tests.projects import flat_model
from tinyodl import pio
from tinyodl.errors import DoesNotFitError, ModelError, UserError
from tinyodl.project.manifest import load
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.targets.boards import board_names, load_board

DIGITS = SHIPPED[0]


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("board", board_names())
def test_the_same_input_gives_the_same_bytes(tmp_path, board):
    fits = load_board(board).ram.size > 124_176  # what Adam takes
    rule = {"update": "full", "optimizer": "adam" if fits else "sgd", "batch": 2}
    for out in ("a", "b"):
        tinyodl.compile(WATCH, board, tmp_path / out, **rule)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_model_or_rule_has_another_id(tmp_path):
    ids = {
        tinyodl.plan(model, "host", update=update, learning_rate=rate).model_id
        for model in (DIGITS, WATCH)
        for update in ("last", "full")
        for rate in (0.1, 0.2)
    }
    assert len(ids) == 8


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("board", ["nrf52840_dk", "nucleo_f446re"])
@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_predicted_ram_is_within_two_percent_of_the_linked(
    tmp_path, monkeypatch, path, board, compiler
):
    if compiler == "gcc":
        require_tool("arm-none-eabi-gcc")
    monkeypatch.setenv("TINYODL_COMPILER", compiler)
    options = {"update": "last", "optimizer": "adam", "batch": 2}
    manifest = tinyodl.compile(path, board, tmp_path / "p", **options)
    built = build(tmp_path / "p", load_board(board))
    linked = built.data_bytes + built.bss_bytes + built.stack_bytes
    assert linked == pytest.approx(manifest.ram.total, rel=0.02)
    assert built.flash_bytes == pytest.approx(manifest.flash.total, rel=0.15)


@shared_only
@pytest.mark.parametrize(
    "model, scheme, most",
    [
        ("mcunet_5fps_int8", "mcunet-5fps-49KB", 131_072),
        ("mcunet_5fps_int8", "mcunet-5fps-99KB", 180_000),
        ("mbv2_w035_int8", "mbv2-w0.35-49KB", 120_000),
    ],
)
def test_published_schemes_need_as_much_memory_as_predicted(tmp_path, model, scheme, most):
    """At 128x128, and less than the engine that was published with the first one: 230,472 B."""
    require_tool("arm-none-eabi-gcc")
    options = {"head": "dense:10", "update": ROOT / "examples" / "schemes" / f"{scheme}.toml"}
    path = ROOT.parent / "shared" / "models" / f"{model}.onnx"
    manifest = tinyodl.compile(path, "nrf52840_dk", tmp_path / "p", **options)
    built = build(tmp_path / "p", load_board("nrf52840_dk"))
    linked = built.data_bytes + built.bss_bytes + built.stack_bytes
    assert linked <= most
    assert linked == pytest.approx(manifest.ram.total, abs=16)
    assert built.flash_bytes == pytest.approx(manifest.flash.total, rel=0.15)
    assert manifest.arena.bytes == manifest.arena.lower_bound


@shared_only
@pytest.mark.parametrize("path", LARGE, ids=name)
def test_every_float_model_compiles_for_a_board_with_enough_memory(tmp_path, path):
    manifest = tinyodl.compile(path, "host", tmp_path / "p", update="full")
    assert manifest.ram.total == sum(manifest.ram.parts.values())
    assert load(tmp_path / "p") == manifest


def test_a_model_that_does_not_fit_says_what_is_large_and_leaves_nothing(tmp_path):
    with pytest.raises(DoesNotFitError, match=r"input \(.* B\).*--update|smaller|more RAM"):
        tinyodl.compile(WATCH, "nrf52840_dk", tmp_path / "p", ram=8 * 1024)
    with pytest.raises(DoesNotFitError, match="flash"):
        tinyodl.compile(WATCH, "nrf52840_dk", tmp_path / "p", flash=16 * 1024)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_project_as_it_was(tmp_path, monkeypatch):
    out = tmp_path / "p"
    tinyodl.compile(WATCH, "host", out)
    (out / "flash.bin").write_bytes(b"learned")
    before = contents(out)
    write = Path.write_bytes

    def full_disk(path: Path, data: bytes) -> int:
        if path.name == "weights.c":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(UserError, match="No space left"):
        tinyodl.compile(DIGITS, "host", out)
    with pytest.raises(UserError, match="No space left"):
        tinyodl.compile(DIGITS, "host", tmp_path / "new")
    assert contents(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_compiling_again_keeps_what_a_board_saved(tmp_path):
    out = tmp_path / "p"
    tinyodl.compile(WATCH, "host", out)
    (out / "flash.bin").write_bytes(b"learned")
    tinyodl.compile(WATCH, "host", out, update="full")
    assert (out / "flash.bin").read_bytes() == b"learned"
    assert load(out).layers[0].updates == "weights"


def test_a_folder_with_other_things_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        tinyodl.compile(WATCH, "host", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_plan_it_used_can_be_edited_and_passed_back(tmp_path):
    first = tinyodl.compile(WATCH, "host", tmp_path / "a", update="bias", optimizer="momentum")
    plan = load_plan(tmp_path / "a" / "plan.toml")
    assert plan == first.plan
    again = tinyodl.compile(WATCH, "host", tmp_path / "b", update=str(tmp_path / "a" / "plan.toml"))
    assert again == first
    edited = plan.model_copy(update={"layers": {**plan.layers, "/0/Conv": "weights"}})
    (tmp_path / "plan.toml").write_text(dump_plan(edited))
    third = tinyodl.compile(WATCH, "host", tmp_path / "c", update=str(tmp_path / "plan.toml"))
    assert [layer.updates for layer in third.layers] == ["weights", "bias", "bias", "bias"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("layers = {nowhere = 'weights'}", "nowhere"),
        ("layers = {'/0/Conv' = 'everything'}", "layers./0/Conv"),
        ("learning_rate = 0", "learning_rate"),
        ("learning_rate =", "TOML"),
        ("speed = 3", "speed"),
    ],
)
def test_a_wrong_plan_is_refused_by_its_field(tmp_path, text, complaint):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UserError, match=complaint):
        tinyodl.compile(WATCH, "host", tmp_path / "p", update=str(tmp_path / "plan.toml"))


def test_wrong_options_are_refused(tmp_path):
    for options, complaint in [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"batch": 0}, "batch"),
        ({"update": "nothing.toml"}, "last, bias, full, none or a plan file"),
    ]:
        with pytest.raises(UserError, match=complaint):
            tinyodl.compile(WATCH, "host", tmp_path / "p", **options)
    with pytest.raises(UserError, match="nrf52840_dk"):
        tinyodl.compile(WATCH, "arduino_uno", tmp_path / "p")


def test_names_that_no_compiler_would_take_become_c_names(tmp_path):
    """ONNX names may hold anything; C sees unique identifiers."""
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(size=(4, 4)).astype(np.float32) for n in ("int", "a b", "a/b", "7:é")}
    values = ["x", "loss", "target", "arena", "y"]
    nodes = [
        helper.make_node("MatMul", [values[i], weight], [values[i + 1]], f"layer {weight}")
        for i, weight in enumerate(weights)
    ]
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(w, n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "names.onnx")
    tinyodl.compile(tmp_path / "names.onnx", "host", tmp_path / "p", update="full")
    build(tmp_path / "p", load_board("host"))


def test_names_that_the_generated_c_uses_itself_are_avoided(tmp_path):
    """Of tensors, and of a layer whose constants would be called as their type is."""
    names = ["x", "forward", "i", "best", "range", "row_size", "float_of_bits", "int32_t", "y"]
    nodes = [
        helper.make_node("Relu", [given], [made], f"relu {made}")
        for given, made in zip(names[:-1], [*names[1:-1], "last"], strict=True)
    ]
    nodes.append(helper.make_node("Conv", ["last", "w"], ["y"], "conv"))
    w = np.ones((1, 1, 1, 1), np.float32)
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "names.onnx")
    tinyodl.compile(tmp_path / "names.onnx", "host", tmp_path / "p", update="full", loss="mse")
    build(tmp_path / "p", load_board("host"))


def test_names_that_training_needs_are_refused(tmp_path):
    model = onnx.load(flat_model(tmp_path / "flat.onnx"))
    model.graph.output[0].name = model.graph.node[0].output[0] = "<loss>"
    onnx.save(model, tmp_path / "loss.onnx")
    with pytest.raises(ModelError, match="reserved"):
        tinyodl.compile(tmp_path / "loss.onnx", "host", tmp_path / "p")


def test_a_copied_project_needs_nothing_else(tmp_path):
    tinyodl.compile(DIGITS, "host", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "a")
    pio.build(tmp_path / "elsewhere", load_board("host"))
    with tinyodl.Session(tmp_path / "elsewhere") as session:
        x = np.zeros((1, 64), np.float32)
        assert session.infer(x).shape == (1, 10)
