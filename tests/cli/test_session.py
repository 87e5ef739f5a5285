"""`flash`, `stream-train`, `evaluate`, `report` and `export`, with and without hardware's ways."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.cli.conftest import COMMAND, ENVIRONMENT, Run, started
from tests.conftest import require_tool
from tests.projects import WATCH, flat_model, require_arm_compiler
from tinyodl.cli import options
from tinyodl.device import link
from tinyodl.project import manifest as manifest_file
from tinyodl.runs import log as runlog

LEARN, TEST = WATCH / "person8_learn.npz", WATCH / "person8_test.npz"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """25 windows of the test file, all exercises."""
    file = np.load(TEST, allow_pickle=False)
    np.savez(tmp_path / "few.npz", x=file["x"][::9], y=file["y"][::9])
    return tmp_path / "few.npz"


def test_flash_boots_the_virtual_board_and_compares_memory(tinyodl: Run, watch_nrf: Path) -> None:
    values = tinyodl("flash", watch_nrf, "--port", "virtual", "--json").values
    assert values["answered"] is True and values["uploaded"] is False
    predicted, linked = values["ram_bytes"]["predicted"], values["ram_bytes"]["linked"]
    assert predicted == pytest.approx(linked, rel=0.02)
    assert values["model_id"] == manifest_file.load(watch_nrf).model_id


def test_flash_without_a_board_asks_for_its_port_at_once(tinyodl: Run, watch_nrf: Path) -> None:
    done = tinyodl("flash", watch_nrf)
    assert done.code == 2
    assert "no serial device is a Nordic nRF52840 DK" in done.err
    assert "--port virtual" in done.err


def test_stream_train_reports_what_the_issue_of_a_run_is(
    tinyodl: Run, watch_nrf: Path, few: Path, tmp_path: Path
) -> None:
    values = tinyodl(
        *("stream-train", watch_nrf, "--port", "virtual", "--data", few, "--eval", few),
        *("--shuffle", 3, "--limit", 20, "--run", tmp_path / "run", "--json"),
    ).values
    assert values["status"] == "done" and values["samples"] == 20 and values["saved"] is True
    for name in ("accuracy_before", "accuracy_after", "prequential_accuracy"):
        assert 0 < values[name] <= 1
    assert values["mean_loss"] > 0
    for kind in ("cycles", "instructions"):
        assert values[kind]["forward"] > values[kind]["update"] > 0
        assert values[kind]["backward"] > 0
    total = sum(values["cycles"].values())
    assert values["ms_per_step"] == pytest.approx(total / 64e3)
    assert values["mj_per_step"] > 0
    assert values["time_source"] == "modelled cycles of the virtual board"
    assert values["energy_source"].startswith("estimated")
    assert (tmp_path / "run" / "report.html").is_file()
    record = runlog.read(tmp_path / "run").record
    assert record.linked is not None and record.linked.compiler != ""
    assert record.stack_used is not None and 0 < record.stack_used <= 2048


def test_qemu_trains_and_says_that_nothing_was_saved_and_what_it_counts(
    tinyodl: Run, tmp_path: Path
) -> None:
    require_tool("qemu-system-arm")
    require_arm_compiler()
    model, project = flat_model(tmp_path / "flat.onnx"), tmp_path / "flat"
    np.savez(tmp_path / "d.npz", x=np.eye(4, dtype=np.float32), y=np.array([0, 1, 0, 1]))
    assert tinyodl("compile", model, "--board", "netduinoplus2", "-o", project).code == 0
    assert tinyodl("flash", project, "--port", "qemu").code == 0
    values = tinyodl(
        "stream-train", project, "--port", "qemu", "--data", tmp_path / "d.npz", "--json"
    ).values
    assert values["samples"] == 4 and values["saved"] is False
    assert values["time_source"].startswith("TIM2, QEMU: executed instructions")
    assert values["mj_per_step"] is None
    assert "not in the board's store" in tinyodl("report", values["run"]).out


def test_without_eval_there_are_no_accuracies_before_and_after(
    tinyodl: Run, watch_host: Path
) -> None:
    values = tinyodl("stream-train", watch_host, "--data", LEARN, "--limit", 3, "--json").values
    assert values["accuracy_before"] is None and values["accuracy_after"] is None
    assert values["instructions"] is None and values["mj_per_step"] is None
    assert Path(values["run"]).parts[0] == "runs"  # a new folder, where the command was called


def test_host_and_virtual_board_see_the_same_losses_to_the_last_bit(
    tinyodl: Run, watch_host: Path, watch_nrf: Path, few: Path, tmp_path: Path
) -> None:
    seen = []
    for project, port in ((watch_host, "host"), (watch_nrf, "virtual")):
        tinyodl("stream-train", project, "--port", port, "--data", few, "--run", tmp_path / port)
        steps = runlog.read(tmp_path / port).steps
        seen.append([(step.label, step.predicted, step.loss) for step in steps])
    assert seen[0] == seen[1] and len(seen[0]) == 26


def test_what_was_learned_survives_between_commands_until_a_reset(
    tinyodl: Run, watch_nrf: Path, few: Path, tmp_path: Path
) -> None:
    virtual = ("--port", "virtual")
    before = tinyodl("evaluate", watch_nrf, *virtual, "--data", few, "--json").values
    trained = tinyodl(
        *("stream-train", watch_nrf, *virtual, "--data", few, "--eval", few, "--epochs", 3),
        *("--shuffle", 1, "--json"),
    ).values
    assert trained["loss_before"] == before["loss"]
    after = tinyodl("evaluate", watch_nrf, *virtual, "--data", few, "--json").values
    assert after["loss"] == trained["loss_after"] < before["loss"]
    assert np.sum(after["confusion"]) == 26

    again = tinyodl(
        *("stream-train", watch_nrf, *virtual, "--data", few, "--eval", few, "--limit", 1),
        *("--reset", "--run", tmp_path / "again", "--json"),
    ).values
    assert again["loss_before"] == before["loss"]


def test_export_carries_what_the_board_has_learned(
    tinyodl: Run, watch_nrf: Path, few: Path, tmp_path: Path
) -> None:
    virtual = ("--port", "virtual")
    tinyodl("stream-train", watch_nrf, *virtual, "--data", few, "--shuffle", 1)
    after = tinyodl("evaluate", watch_nrf, *virtual, "--data", few, "--json").values
    learned = tmp_path / "learned.onnx"
    assert tinyodl("export", watch_nrf, *virtual, "-o", learned).code == 0
    model = onnxruntime.InferenceSession(learned)
    file = np.load(few)
    hits = [
        model.run(None, {"input": x[np.newaxis]})[0].argmax() == y
        for x, y in zip(file["x"], file["y"], strict=True)
    ]
    assert np.mean(hits) == after["accuracy"]


def test_report_puts_runs_side_by_side(tinyodl: Run, watch_host: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        tinyodl(
            *("stream-train", watch_host, "--data", LEARN, "--limit", 20),
            *("--shuffle", seed, "--run", folder),
        )
    done = tinyodl("report", *folders, "--html", tmp_path / "page.html", "--json")
    assert [run["run"] for run in done.values["runs"]] == [str(folder) for folder in folders]
    assert "one" in done.err and "two" in done.err
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and ">two<" in page
    assert "one" in tinyodl("report", *folders).out


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_cleanly_and_leaves_a_report(
    watch_host: Path, tmp_path: Path, number: signal.Signals, tinyodl: Run
) -> None:
    folder = tmp_path / "run"
    arguments = ["stream-train", watch_host, "--data", LEARN, "--epochs", 10_000, "--run", folder]
    log = folder / "steps.jsonl"
    with started(*COMMAND, *arguments, "--json") as process:
        while not (log.is_file() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number, err
    values = json.loads(out)
    assert values["status"] == "interrupted" and values["saved"] is True
    assert values["samples"] == len(log.read_text().splitlines()) > 0
    assert (folder / "report.html").is_file()
    assert tinyodl("report", folder).code == 0


def test_a_reader_that_stops_reading_costs_no_report(
    watch_host: Path, few: Path, tmp_path: Path
) -> None:
    arguments = ["stream-train", watch_host, "--data", few, "--run", tmp_path / "run"]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()


def test_a_killed_run_can_still_be_reported(watch_host: Path, tmp_path: Path, tinyodl: Run) -> None:
    tinyodl("stream-train", watch_host, "--data", LEARN, "--limit", 5, "--run", tmp_path / "run")
    run = runlog.read(tmp_path / "run")
    running = run.record.model_copy(update={"status": "running", "finished": None})
    (tmp_path / "run" / "run.json").write_text(running.model_dump_json())
    with (tmp_path / "run" / "steps.jsonl").open("a") as log:
        log.write('{"step":5,"ep')
    done = tinyodl("report", tmp_path / "run", "--html", tmp_path / "page.html")
    assert done.code == 0 and "unfinished" in done.out
    assert "unfinished" in (tmp_path / "page.html").read_text()


def test_wrong_data_is_refused_before_the_board_is_touched(
    tinyodl: Run, watch_nrf: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "flat.npz", x=np.zeros((3, 600), np.float32), y=np.zeros(3, int))
    done = tinyodl("stream-train", watch_nrf, "--data", tmp_path / "flat.npz")
    assert done.code == 2 and done.out == ""
    assert "x has shape (3, 600), the model needs (N, 6, 1, 100)" in done.err
    assert not (tmp_path / "cwd" / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("evaluate", "nowhere", "--data", LEARN), 2, "nowhere is not a tinyodl project"),
        (("flash", "."), 2, "not a tinyodl project"),
        (("report", "nowhere"), 2, "nowhere holds no run"),
        (("report",), 2, "RUN"),
        (("export", "nowhere", "-o", "x.onnx"), 2, "not a tinyodl project"),
        (("bake",), 2, "bake"),
    ],
)
def test_mistakes_get_one_message(
    tinyodl: Run, arguments: tuple[object, ...], code: int, message: str
) -> None:
    done = tinyodl(*arguments)
    assert done.code == code and message in done.err and "Traceback" not in done.err


def test_a_silent_serial_line_is_a_failure_of_the_board(tinyodl: Run, watch_nrf: Path) -> None:
    done = tinyodl("evaluate", watch_nrf, "--port", "loop://", "--patience", "0.3", "--data", LEARN)
    assert done.code == 1 and "does not answer on loop://" in done.err


def test_patience_is_the_clients_unless_it_is_given() -> None:
    """The option has a number of its own, so that help needs no client."""
    assert options.PATIENCE == link.PATIENCE


def test_a_firmware_of_another_model_is_refused(tinyodl: Run, watch_host: Path) -> None:
    other = manifest_file.load(watch_host).model_copy(update={"model_id": "0123456789abcdef"})
    (watch_host / "tinyodl.json").write_text(manifest_file.dump(other))
    done = tinyodl("evaluate", watch_host, "--data", LEARN)
    assert done.code == 1 and "other firmware" in done.err


def test_a_run_is_never_overwritten(tinyodl: Run, watch_host: Path, tmp_path: Path) -> None:
    arguments = ("stream-train", watch_host, "--data", LEARN, "--limit", 1, "--run", tmp_path / "r")
    assert tinyodl(*arguments).code == 0
    done = tinyodl(*arguments)
    assert done.code == 2 and "already holds a run" in done.err


def test_boards_and_doctor_list_what_there_is(tinyodl: Run) -> None:
    boards = tinyodl("boards").out
    for name in ("nrf52840_dk", "nano33ble", "nucleo_f446re", "netduinoplus2", "host"):
        assert name in boards
    assert "platformio" in tinyodl("doctor").out
