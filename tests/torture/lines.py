"""Lines that lose, double, change and exchange bytes, one by one and in bursts, in both directions.

A run is streamed to the host build of a small network over each kind of bad line. At the end the
weights have the bits of a run over a good line, and each sample was trained once.
Lines that bring nothing but noise end a run within its patience, and say what came.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.device.lines import KINDS, RATES, Faults
from tests.projects import built, two_layers
from tinyodl.device import Client
from tinyodl.errors import BoardError, TinyodlError
from tinyodl.project import manifest as mf
from tinyodl.virtual.host import PROGRAM, HostTransport

WHAT = "a line damages up to one byte in 100, or bursts of them; every run ends with the same bits"

SAMPLES = 30
LONGEST_BURST = 40
NOISE_PATIENCE = 0.2


class Line:
    """A transport to a host build with faults on the way."""

    name = "a bad line"

    def __init__(self, project: Path, there: Faults, back: Faults) -> None:
        self._transport = HostTransport(project / PROGRAM)
        self._there, self._back = there, back

    def write(self, data: bytes) -> None:
        self._transport.write(self._there(data))

    def read(self, timeout: float) -> bytes:
        return self._back(self._transport.read(timeout))

    def close(self) -> None:
        self._transport.close()


class Noise:
    """A transport on which something else talks, and nobody listens."""

    name = "noise"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._text = self._random.choice((b"hello world\r\n", b"\0", b"\xf8\x80", b""))

    def write(self, data: bytes) -> None:
        del data

    def read(self, timeout: float) -> bytes:
        del timeout
        return self._text * 3 or self._random.randbytes(self._random.randrange(1, 80))

    def close(self) -> None:
        pass


def stream(project: Path, there: Faults, back: Faults) -> tuple[bytes, int]:
    """All parameters after a run, and how many samples the board says it has trained."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(SAMPLES, 8)).astype(np.float32)
    y = chance.integers(0, 3, SAMPLES).tolist()
    manifest = mf.load(project)
    client = Client(Line(project, there, back), manifest)
    try:
        for at in range(SAMPLES):
            then = (x[at + 1], y[at + 1]) if at + 1 < SAMPLES else None
            client.train(x[at], y[at], then)
        parts = [client.read_parameter(record.index).tobytes() for record in manifest.parameters]
        return b"".join(parts), client.statistics().trained
    finally:
        client.close()


def babble(project: Path, seed: int) -> str | None:
    """What is wrong with how a line of noise is reported."""
    try:
        Client(Noise(seed), mf.load(project), patience=NOISE_PATIENCE).hello()
    except BoardError as error:
        return None if "no answer on noise" in str(error) else f"it says: {error}"
    return "a board was found in noise"


def trials(seed: int) -> Iterator[tuple[str, str | None]]:
    """One run for each `next`: the sixteen rows in turn, then bursts, then noise."""
    chance = random.Random(seed)
    rows = [(kind, rate) for kind in KINDS for rate in RATES]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        project = built(two_layers(folder / "model.onnx"), "host", folder / "out", update="full")
        clean = Faults("drop", 0.0, 0)
        expected = stream(project, clean, clean)
        for number in range(10**9):
            place = number % (len(rows) + 2)
            if place == len(rows) + 1:
                yield "noise alone", babble(project, chance.getrandbits(32))
                continue
            if place < len(rows):
                kind, rate = rows[(place * 5) % len(rows)]
                burst, row = 0, f"{kind}, {rate * 10_000:g} bytes in 10,000"
            else:
                kind, rate = chance.choice(KINDS), chance.uniform(0, 0.001)
                burst, row = chance.randint(1, LONGEST_BURST), f"{kind}, in bursts"
            seeds = chance.getrandbits(32), chance.getrandbits(32)
            try:
                found = stream(project, *(Faults(kind, rate, each, burst) for each in seeds))
            except TinyodlError as error:
                yield row, f"rate {rate}, burst {burst}, seeds {seeds}: {error}"
                continue
            told = f"rate {rate}, burst {burst}, seeds {seeds}: other weights, or {found[1]} steps"
            yield row, None if found == expected else told
