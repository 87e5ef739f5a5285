"""What the serial line costs: samples a second, bytes a step, and what faults add to them.

Lines with a time of their own (tests/device/lines.py): a byte takes 1 / pace seconds, both
directions run at once, and replies wait `latency` on top, as in a USB bridge. The boards are host
builds, which compute in no time here: it is the line alone that is measured, and exactly.

"Two round trips" is a WRITE with an answer for each 504 bytes, then TRAIN: protocol 1 had no more.
Run it as `.venv/bin/python -m benchmarks.line`; docs/lines.md has the figures.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.device import bench
from tests.device.lines import KINDS, RATES, Faults, PacedLine, keep_time
from tinyodl.device import Client
from tinyodl.device.codes import Buffer, Command
from tinyodl.device.framing import decode
from tinyodl.device.link import Link
from tinyodl.device.protocol import label_body, write_body
from tinyodl.graph import Array
from tinyodl.project import manifest as manifest_file
from tinyodl.samples.data import encoded
from tinyodl.virtual.host import PROGRAM, HostTransport

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
DIGITS = ROOT / "tests" / "data" / "sklearn_digits_8x8.npz"
MODELS = {
    "digits, 64 float32": ROOT / "tests" / "models" / "digits_mlp_64_32_10.onnx",
    "watch, 600 float32": ROOT / "examples" / "watch" / "watch_cnn_c7.onnx",
    "fsdd, 490 float32": SHARED / "models" / "fsdd_dscnn_c8.onnx",
}
STEPS = 30
RUNS = 5
BAUD = 11_520  # bytes a second at 115,200 baud


def main() -> None:
    """Print both tables."""
    print("| sample | bytes/s | latency | two round trips | one exchange | | bytes a step |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            project = Path(folder) / model.stem
            tinyodl.compile(model, "host", project)
            tinyodl.flash(project)
            for pace in (BAUD, 100_000):
                for latency in (0.0, 0.016):
                    print(f"| {name} | {pace:,} | {latency * 1000:.0f} ms "
                          f"{rates(project, pace, latency)}")  # fmt: skip
        print()
        library = bench.build_library(Path(folder), "-DFAKE_INPUTS=64")
        print("| faults | of 10,000 bytes | bytes | samples/s | weights |")
        print("|---|--:|--:|--:|---|")
        for kind in KINDS:
            for rate in RATES:
                print(f"| {kind} | {rate * 10_000:g} {disturbed(library, kind, rate)}")


@contextlib.contextmanager
def paced(project: Path, pace: float, latency: float) -> Iterator[PacedLine]:
    """A line to a project's host build."""
    transport = HostTransport(project / PROGRAM)

    def exchange(frame: bytes) -> bytes:
        transport.write(frame)
        message = decode(frame[:-1])
        if not message or message[0] == Command.PIECE:
            return b""
        reply = transport.read(10.0)
        while not reply.endswith(b"\0"):
            reply += transport.read(10.0)
        return reply

    line = PacedLine(exchange, pace=pace, latency=latency)
    with pytest.MonkeyPatch.context() as patch:
        keep_time(line, patch)
        yield line
    transport.close()


def rates(project: Path, pace: float, latency: float) -> str:
    """Cells: samples a second before and after, how many times as fast, bytes before and after."""
    manifest = manifest_file.load(project)
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS + 1, *manifest.model.input_shape[1:])).astype(np.float32)
    with paced(project, pace, latency) as line:
        link = Link(line, 7, 15.0)
        link.hello()
        start, used = line.now, link.sent + link.received
        for sample in x[:STEPS]:
            two_round_trips(link, encoded(sample[None], manifest.model))
        before = STEPS / (line.now - start)
        bytes_before = (link.sent + link.received - used) / STEPS
    with paced(project, pace, latency) as line:
        client = Client(line, manifest)
        client.train(x[0], 0, (x[0], 0))
        start, used = line.now, client.sent + client.received
        for at in range(STEPS):
            client.train(x[at], 0, (x[at + 1], 0))
        after = STEPS / (line.now - start)
        bytes_after = (client.sent + client.received - used) / STEPS
    return (
        f"| {before:.1f} | {after:.1f} | {after / before:.1f} x "
        f"| {bytes_before:,.0f} to {bytes_after:,.0f} |"
    )


def two_round_trips(link: Link, data: bytes) -> None:
    """A sample with an answer for each of its WRITEs, and the step."""
    for offset in range(0, len(data), 504):
        link.ask(Command.WRITE, write_body(Buffer.INPUT, offset, data[offset:][:504]), seconds=2)
    link.ask(Command.TRAIN, label_body(0), seconds=2)


def digits(count: int) -> tuple[Array, Array]:
    """Samples (N, 64) and the three classes of the bench."""
    with np.load(DIGITS) as data:
        return (data["x"][:count].reshape(count, 64) / 16).astype(np.float32), data["y"][:count] % 3


def disturbed(library: Path, kind: str, rate: float) -> str:
    """Cells of a row: 300 digits over a line with faults, the mean of five lines."""
    clean = stream(library, kind, 0.0, 0)
    runs = [stream(library, kind, rate, 2 * seed) for seed in range(RUNS)]
    used = np.mean([run[1] for run in runs]) / clean[1]
    speed = np.mean([clean[2] / run[2] for run in runs])
    same = all(run[0] == clean[0] for run in runs)
    return f"| {used:.3f} x | {speed:.2f} x | {'the same' if same else 'OTHERS'} |"


def stream(library: Path, kind: str, rate: float, seed: int) -> tuple[bytes, int, float]:
    """The state that 300 samples leave, bytes, and seconds of the line."""
    server = bench.Server(library)
    line = PacedLine(
        server.exchange, pace=BAUD,
        to_board=Faults(kind, rate, seed), to_host=Faults(kind, rate, seed + 1),
    )  # fmt: skip
    x, y = digits(301)
    with pytest.MonkeyPatch.context() as patch:
        keep_time(line, patch)
        client = Client(line, bench.manifest(64), sequence=7)
        for at in range(300):
            client.train(x[at], int(y[at]), (x[at + 1], int(y[at + 1])))
    return server.state(), client.sent + client.received, line.now


if __name__ == "__main__":
    main()
