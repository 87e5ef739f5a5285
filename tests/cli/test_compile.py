"""`compile` and `plan`: what they print, what they write, and that mistakes leave nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import COMMAND, ENVIRONMENT, Run
from tests.projects import WATCH, flat_model, image_model
from tinyodl.compiler import plan_model

MODEL = WATCH / "watch_cnn_c7.onnx"


def test_compile_writes_a_project_and_prints_what_learns(tinyodl: Run, tmp_path: Path) -> None:
    done = tinyodl("compile", MODEL, "--board", "nrf52840_dk", "-o", tmp_path / "out")
    assert done.code == 0
    assert "/11/Gemm" in done.out and "weights and bias" in done.out and "frozen" in done.out
    assert (tmp_path / "out/tinyodl.json").is_file()
    assert (tmp_path / "out/platformio.ini").is_file()


def test_compile_json_is_one_object_with_memory_work_and_layers(
    tinyodl: Run, tmp_path: Path
) -> None:
    done = tinyodl("compile", MODEL, "--board", "nrf52840_dk", "-o", tmp_path / "out", "--json")
    values = done.values
    assert values["ram_bytes"]["total"] == sum(values["ram_bytes"]["parts"].values())
    assert values["flash_bytes"]["total"] > 26_940  # the weights alone
    assert values["macs_forward"] == 131_744
    assert values["macs_backward"] == 32 + 7  # of the bound: squares of features and of gradients
    assert values["macs_update"] > 0
    assert [layer["updates"] for layer in values["layers"]] == ["none", "none", "none", "weights"]
    assert "Gemm" in done.err  # the table is for people


def test_plan_shows_the_same_and_writes_nothing(tinyodl: Run, tmp_path: Path) -> None:
    options = (MODEL, "--board", "nrf52840_dk", "--update", "full", "--optimizer", "adam")
    planned = tinyodl("plan", *options, "--json").values
    compiled = tinyodl("compile", *options, "-o", tmp_path / "out", "--json").values
    assert list((tmp_path / "cwd").iterdir()) == []
    assert planned == {name: v for name, v in compiled.items() if name != "project"}


def test_plan_draws_the_memory_map(tinyodl: Run, tmp_path: Path) -> None:
    done = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--html", tmp_path / "map.html")
    assert done.code == 0
    assert "memory-map" in (tmp_path / "map.html").read_text()


@pytest.mark.parametrize(("size", "number"), [("20000", 20_000), ("16K", 16_384), ("1MiB", 2**20)])
def test_sizes_are_bytes_or_carry_a_binary_unit(tinyodl: Run, size: str, number: int) -> None:
    values = tinyodl(
        "plan", MODEL, "--board", "nrf52840_dk", "--ram", size, "--flash", "96KiB", "--json"
    ).values
    assert values["ram_limit"] == min(number, 256 * 1024)
    assert values["flash_limit"] == 96 * 1024


@pytest.mark.parametrize("size", ["", "64Q", "-1", "0", "1.5K", "K"])
def test_what_is_not_a_size_is_refused(tinyodl: Run, size: str) -> None:
    done = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--ram", size)
    assert done.code == 2 and "is not a size such as" in done.err


def test_a_model_that_does_not_fit_is_refused_by_compile_and_shown_by_plan(
    tinyodl: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = tinyodl("compile", MODEL, "--board", "nrf52840_dk", "--ram", "8K", "-o", out)
    assert done.code == 2 and "largest tensors" in done.err and "Traceback" not in done.err
    assert not out.exists()
    shown = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--ram", "8K", "--json")
    assert shown.values["fits"] is False and "Does not fit" in shown.err


def test_a_plan_file_says_what_learns_and_how(tinyodl: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('learning_rate = 0.5\n[layers]\n"/6/Conv" = "bias"\n')
    values = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--update", plan, "--json").values
    assert [layer["updates"] for layer in values["layers"]] == ["none", "none", "bias", "none"]
    assert values["training"]["learning_rate"] == 0.5


def test_a_plan_file_and_options_that_contradict_it_are_refused(
    tinyodl: Run, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[layers]\n")
    done = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--update", plan, "--lr", "0.1")
    assert done.code == 2 and "set lr there" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.onnx", "--board", "nrf52840_dk"), "none.onnx"),
        ((MODEL, "--board", "toaster"), "board 'toaster' is unknown; tinyodl knows host,"),
        ((MODEL, "--board", "nrf52840_dk", "--update", "everything"), "everything"),
        ((MODEL, "--board", "nrf52840_dk", "--lr", "-1"), "learning_rate"),
        ((MODEL, "--board", "nrf52840_dk", "--batch", "0"), "batch"),
        ((MODEL, "--board", "nrf52840_dk", "--loss", "hinge"), "hinge"),
        ((MODEL,), "--board"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_2_and_write_nothing(
    tinyodl: Run, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    done = tinyodl("compile", *arguments, "-o", tmp_path / "out", "--json")
    assert done.code == 2 and done.out == ""
    assert message in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_debug_shows_where_it_happened() -> None:
    arguments = ["plan", "none.onnx", "--board", "nrf52840_dk"]
    said = [
        subprocess.run([*COMMAND, *debug, *arguments], env=ENVIRONMENT, capture_output=True).stderr
        for debug in ((), ("--debug",))
    ]
    assert b"Traceback" not in said[0] and b"Traceback" in said[1]


def test_the_same_input_gives_the_same_project_byte_for_byte(tinyodl: Run, tmp_path: Path) -> None:
    model = flat_model(tmp_path / "flat.onnx")
    trees = []
    for name in ("a", "b"):
        tinyodl("compile", model, "--board", "nucleo_f446re", "-o", tmp_path / name)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        trees.append({p.relative_to(tmp_path / name): p.read_bytes() for p in files})
    assert trees[0] == trees[1] and len(trees[0]) > 5


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, tinyodl, tinyodl.cli.main; "
        "heavy = {'onnx', 'onnxruntime', 'numpy', 'jinja2', 'unicorn'} & set(sys.modules); "
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_output_that_is_not_there_is_refused_with_those_that_are(tinyodl: Run) -> None:
    done = tinyodl("plan", MODEL, "--board", "nrf52840_dk", "--output", "nothing")
    assert done.code == 2 and "has no output 'nothing'; its outputs are 'logits'" in done.err


def test_cut_and_head_change_the_network(tinyodl: Run) -> None:
    options = ("--cut", "/10/Flatten", "--head", "dense:16,5", "--seed", 3, "--json")
    values = tinyodl("plan", MODEL, "--board", "host", *options).values
    layers = {layer["name"]: layer["updates"] for layer in values["layers"]}
    assert list(layers)[-2:] == ["head.dense1", "head.dense2"]
    assert [name for name, updates in layers.items() if updates == "weights"] == list(layers)[-2:]
    assert tinyodl("plan", MODEL, "--board", "host", "--simplify", "--no-check").code == 0


def test_a_cut_that_is_not_there_is_a_mistake_of_the_user(tinyodl: Run) -> None:
    done = tinyodl("plan", MODEL, "--board", "host", "--cut", "/10/Flat")
    assert done.code == 2 and "'/10/Flatten'" in done.err


def test_the_plan_says_what_is_never_in_memory_as_a_whole(tinyodl: Run, tmp_path: Path) -> None:
    samples = tmp_path / "images.npz"
    np.savez(samples, x=np.random.default_rng(0).normal(size=(8, 3, 24, 24)))
    model = image_model(tmp_path / "image.onnx")
    options = (model, "--board", "nrf52840_dk", "--precision", "int8", "--calibrate", samples)
    said = " ".join(tinyodl("plan", *options).out.split())
    assert "worked on row by row as it arrives: it is never in memory as a whole." in said
    manifest = plan_model(model, "nrf52840_dk", precision="int8", calibrate=samples)
    assert manifest.model.input_by_rows
    rows, *_ = manifest.schedule
    arena = {tensor.name: tensor.bytes for tensor in manifest.arena.tensors}
    held = arena["x"] + sum(arena[name] for name in rows.outputs[1:])
    assert f"Row by row, nothing twice: {rows.name} (in {held:,} B)." in said
    assert held < 3 * 24 * 24


def test_quantising_says_what_it_cost(tinyodl: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 6, 1, 100))
    np.savez(tmp_path / "few.npz", x=x)
    options = (MODEL, "--board", "nrf52840_dk", "--update", "none")
    options += ("--precision", "int8", "--calibrate", tmp_path / "few.npz")
    done = tinyodl("compile", *options, "-o", tmp_path / "out")
    text = " ".join(done.out.split())
    assert done.code == 0 and done.err == ""
    assert "int8, calibrated with 12 samples of few.npz: the output is off by" in text
    assert "largest element is the same for" in text
    values = tinyodl("plan", *options, "--json").values
    assert values["calibration"]["count"] == 12 and values["calibration"]["agreement"] > 0.5
    smaller = values["flash_bytes"]["parts"]["weights"]
    whole = tinyodl("plan", *options[:5], "--json").values
    assert whole["calibration"] is None and smaller < 0.5 * whole["flash_bytes"]["parts"]["weights"]


def test_calibrating_without_int8_is_a_mistake(tinyodl: Run, tmp_path: Path) -> None:
    options = ("plan", MODEL, "--board", "nrf52840_dk")
    done = tinyodl(*options, "--calibrate", tmp_path / "few.npz")
    assert done.code == 2 and "--calibrate is for --precision int8" in done.err
    done = tinyodl(*options, "--precision", "int8")
    assert done.code == 2 and "needs samples" in done.err
