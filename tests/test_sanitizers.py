"""Generated C under AddressSanitizer and UndefinedBehaviorSanitizer, and for a second compiler.

The networks are the random ones, training fully, and one backend case of each operator, training
whatever it can. Every network is compiled warning-free; GCC's warnings are errors in the other
tests too (`tests.quick_c` says at which optimisation).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend import OPERATORS, all_cases, forms, reason_to_exclude
from tests.frontend.models import saved
from tests.random_graphs import random_model
from tests.random_int8 import random_maps
from tinyodl.codegen.network import render_network
from tinyodl.frontend import import_model
from tinyodl.graph import Graph
from tinyodl.learning.training import differentiate
from tinyodl.memory.arena import plan_arena
from tinyodl.memory.rows import by_rows
from tinyodl.ops import layers_of
from tinyodl.project.plan import UpdatePlan
from tinyodl.select import choose
from tinyodl.targets.firmware import C_FLAGS

# Kernels that are inlined into each call, checks and all, would take a compiler minutes.
SHARED = "-Dalways_inline=__unused__"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O0", "-g", SHARED)
SEEDS = range(0, 36, 5)
GROUPS = 6

MAIN = """
#include "net.h"

#include <stdlib.h>

void net_mark(net_phase phase) { (void)phase; }

/* Values of about -2..2 in float32, in pieces that end anywhere. */
static void send(uint32_t buffer, uint32_t bytes, uint32_t seed)
{
    static float values[(NET_INPUT_BYTES + NET_TARGET_BYTES) / 4 + 1];
    for (uint32_t i = 0; i < bytes / 4 + 1; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)seed / 1073741824.0f;
    }
    for (uint32_t at = 0, count = 37; at < bytes; at += count) {
        count = bytes - at < count ? bytes - at : count;
        net_receive(buffer, at, (const uint8_t *)values + at, count);
    }
}

static void send_sample(uint32_t seed)
{
    send(NET_BUFFER_INPUT, NET_INPUT_BYTES, seed);
    send(NET_BUFFER_TARGET, NET_TARGET_BYTES, seed + 9);
}

int main(void)
{
    net_reset();
    for (uint32_t step = 0; step < 4; step++) {
        send_sample(step);
        net_evaluate((int32_t)step % NET_CLASSES);
        send_sample(step);
        net_train((int32_t)step % NET_CLASSES);
    }
    const int32_t refused[] = {INT32_MIN, -2, NET_CLASSES, INT32_MAX};
    for (uint32_t i = 0; i < 4; i++) {
        if (net_takes(refused[i], 0)) {
            continue; /* labels as they come */
        }
        send_sample(i);
        net_evaluate(refused[i]);
        send_sample(i);
        net_train(refused[i]);
    }
    net_flush();
    return net_predicted() < NET_CLASSES ? EXIT_SUCCESS : EXIT_FAILURE;
}
"""


def written(graph: Graph, folder: Path, loss: str = "mse", updates: str = "full") -> Path:
    """The generated files, and a program that trains four steps; returns its path.

    Frozen layers work on the sample as it arrives, where they can.
    """
    layers = choose(graph, updates) if layers_of(graph) else {}
    plan = UpdatePlan(layers=layers, loss=loss, batch=3)  # type: ignore[arg-type]
    training = by_rows(differentiate(graph, plan))
    network = render_network(training, plan_arena(training), plan, source="test", version="0")
    folder.mkdir(parents=True)
    for name, text in network.files.items():
        (folder / name).write_text(text)
    (folder / "main.c").write_text(MAIN)
    return folder / "main.c"


def run_sanitized(main: Path) -> None:
    program = main.with_suffix("")
    sources = [main, main.with_name("net.c"), main.with_name("weights.c")]
    flags = [flag for flag in C_FLAGS if flag != "-O2"]
    subprocess.run(["gcc", *flags, *SANITIZE, "-o", program, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, f"{main}: {done.stderr}"


def check_with_clang(main: Path) -> None:
    """All warnings of clang, which finds them before it optimises."""
    unit = main.with_name("unit.c")
    unit.write_text('#include "net.c"\n#include "weights.c"\n')
    flags = [flag for flag in C_FLAGS if flag != "-O2"]
    flags += ["-O0", SHARED, "-fno-sanitize=undefined", "-c", "-o", main.with_name("unit.o")]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, unit], check=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_train_without_a_finding(tmp_path, seed):
    graph = import_model(saved(random_model(seed), tmp_path))
    main = written(graph, tmp_path / "net", loss="cross-entropy")
    run_sanitized(main)
    check_with_clang(main)


@pytest.mark.parametrize("seed", range(0, 20, 5))
def test_samples_are_worked_on_as_they_arrive_without_a_finding(tmp_path, seed):
    main = written(random_maps(seed), tmp_path / "net", updates="none")
    assert "work_on(" in main.with_name("net.c").read_text("utf-8")
    run_sanitized(main)
    check_with_clang(main)


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_operator_runs_without_a_finding(tmp_path, group):
    mains = []
    for op in OPERATORS[group::GROUPS]:
        case = next((c for c in all_cases()[op] if not reason_to_exclude(op, c)), None)
        if case is not None:
            form = forms(op, case, tmp_path)[0]
            mains.append(written(form.graph, tmp_path / form.path.stem))
    assert mains
    for main in mains:
        run_sanitized(main)
        check_with_clang(main)
