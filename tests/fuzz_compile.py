"""Throws broken ONNX files at the compiler: every one must end in a plan or in a clean error.

    python -m tests.fuzz_compile 20000

Files are real and generated models with changed bytes, cut ends, or changed structure. Each run of
cases has a process of its own, so that a crash is a finding as well; a case may take 10 s, and a
process 2 GB. What goes wrong is kept in a folder, with the error.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType

import onnx
from onnx import AttributeProto

from tests.models import SHIPPED
from tests.random_graphs import random_model
from tinyodl.compiler import plan_model
from tinyodl.errors import UserError
from tinyodl.ops import IMPORTERS

SECONDS = 10
BYTES = 2 << 30
CHUNK = 250
NUMBERS = (-(2**63), -(2**31), -5, -1, 0, 1, 2, 3, 7, 255, 2**16, 2**31, 2**40, 2**62)
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan"))
WORDS = (b"VALID", b"SAME_UPPER", b"NOTSET", b"reflect", b"edge", b"tanh", b"\xff", b"")
OTHERS = ("Constant", "ConstantOfShape", "Shape", "Gather", "Range", "Sin", "Loop", "If", "Mod")


@dataclass
class Findings:
    """What became of the cases, and the faults by their number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    peak: int = 0  # bytes


class _TooSlow(BaseException):
    """Not an Exception, so that nothing in between can take it for one of the model's."""


@cache
def originals() -> tuple[bytes, ...]:
    """Shipped models small enough to change often, and random networks."""
    shipped = [path.read_bytes() for path in SHIPPED if path.stat().st_size < 50_000]
    return (*shipped, *(random_model(seed, steps=6).SerializeToString() for seed in range(24)))


def broken(number: int) -> tuple[bytes, dict[str, object]]:
    """The case of that number: a file, and the options to compile it with."""
    draw = random.Random(number)
    data = draw.choice(originals())
    kind = draw.randrange(10)
    if kind < 3:
        data = _changed_bytes(data, draw)
    elif kind == 3:
        data = data[: draw.randrange(len(data))]
    else:
        model = onnx.load_model_from_string(data)
        for _ in range(draw.choice((1, 1, 2, 3, 8))):
            _change(model, draw)
        data = model.SerializeToString()
    options: dict[str, object] = {"update": draw.choice(("last", "full", "bias", "none"))}
    if draw.randrange(4) == 0:
        options |= {"loss": "mse", "optimizer": draw.choice(("adam", "momentum")), "batch": 3}
    if draw.randrange(8) == 0:
        options["head"] = draw.choice(("dense:3", "dense:8,2"))
    if draw.randrange(8) == 0:
        options["cut"] = f"t{draw.randrange(1, 20)}"
    return data, options


def run_case(number: int, folder: Path) -> str:
    """ "plan", or the class of the clean error. Anything else is raised."""
    data, options = broken(number)
    path = folder / "broken.onnx"
    path.write_bytes(data)
    try:
        plan_model(path, "host", **options)  # type: ignore[arg-type]
    except UserError as error:
        assert str(error).strip(), "the error says nothing"
        return type(error).__name__
    return "plan"


def run_chunk(numbers: range, queue: multiprocessing.Queue[object] | None = None) -> Findings:
    """Run these cases in this process; each is announced to the queue before it begins."""
    found = Findings()
    signal.signal(signal.SIGALRM, _stop)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            if queue is not None:
                queue.put(number)
            begun = time.monotonic()
            signal.alarm(SECONDS)
            try:
                outcome = run_case(number, Path(folder))
            except (Exception, _TooSlow):
                outcome = "fault"
                found.faults[number] = traceback.format_exc()
            finally:
                signal.alarm(0)
            found.outcomes[outcome] += 1
            found.slowest = max(found.slowest, time.monotonic() - begun)
    found.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if found.peak > BYTES:
        found.faults[numbers[0]] = f"cases {numbers} took {found.peak:,} B of memory"
    return found


def fuzz(first: int, count: int) -> Findings:
    """Run cases in processes of `CHUNK` cases, one after the other."""
    total = Findings()
    context = multiprocessing.get_context("fork")
    for start in range(first, first + count, CHUNK):
        queue: multiprocessing.Queue[object] = context.Queue()
        numbers = range(start, min(start + CHUNK, first + count))
        process = context.Process(target=_report, args=(numbers, queue))
        process.start()
        last: object = start
        while isinstance(last, int):
            try:
                last = queue.get(timeout=3 * SECONDS)
            except Exception:  # the process is gone, or hangs where no signal reaches it
                process.kill()
                total.faults[last] = f"the process died or hung: exit code {process.exitcode}"
                break
        process.join()
        if isinstance(last, Findings):
            total.outcomes += last.outcomes
            total.faults |= last.faults
            total.slowest = max(total.slowest, last.slowest)
            total.peak = max(total.peak, last.peak)
    return total


def _report(numbers: range, queue: multiprocessing.Queue[object]) -> None:
    queue.put(run_chunk(numbers, queue))


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooSlow(f"more than {SECONDS} s")


def _changed_bytes(original: bytes, draw: random.Random) -> bytes:
    data = bytearray(original)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        place = draw.randrange(len(data))
        kind = draw.randrange(4)
        if kind == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place] = draw.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[place : place + draw.randrange(1, 9)]
        else:
            data[place:place] = draw.randbytes(draw.randrange(1, 9))
    return bytes(data)


def _change(model: onnx.ModelProto, draw: random.Random) -> None:
    """One change that ONNX allows to be written, at random."""
    graph = model.graph
    if not (graph.node and graph.initializer and graph.input and graph.output):
        return  # nothing left to change
    node = draw.choice(graph.node)
    names = [*node.input, *node.output, *(t.name for t in graph.initializer), "", "x", "nobody"]
    tensor = draw.choice(graph.initializer)
    match draw.randrange(13):
        case 0:
            node.op_type = draw.choice((*sorted(IMPORTERS), *OTHERS))
        case 1 | 2 if node.attribute:
            _change_attribute(draw.choice(node.attribute), draw)
        case 3 if node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(names)
        case 4 if node.input:
            del node.input[-1]
        case 5:
            node.input.append(draw.choice(names))
        case 6 if tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
        case 7:
            model.opset_import[0].version = draw.randrange(9, 28)
        case 8:
            tensor.data_type = draw.randrange(26)
        case 9:
            dimensions = graph.input[0].type.tensor_type.shape.dim
            dimensions[draw.randrange(len(dimensions))].dim_value = draw.choice(NUMBERS)
        case 10:
            graph.node.remove(node)
        case 11 if tensor.raw_data:
            raw = bytearray(tensor.raw_data)
            raw[draw.randrange(len(raw))] = draw.choice((0, 0x7F, 0x80, 0xFF))
            tensor.raw_data = bytes(raw)
        case _:
            graph.output[0].name = draw.choice(names)


def _change_attribute(attribute: AttributeProto, draw: random.Random) -> None:
    if attribute.ints:
        if draw.randrange(2):
            attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS)
        else:
            attribute.ints.append(draw.choice(NUMBERS))
    elif attribute.type == AttributeProto.INT:
        attribute.i = draw.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = draw.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = draw.choice(WORDS)
    else:
        attribute.type = draw.randrange(15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for files that went wrong")
    given = parser.parse_args()
    begun = time.monotonic()
    found = fuzz(given.first, given.count)
    outcomes = ", ".join(f"{name} {count}" for name, count in sorted(found.outcomes.items()))
    print(f"{given.count} cases in {time.monotonic() - begun:.0f} s: {outcomes}")
    print(f"slowest {found.slowest:.2f} s, peak memory {found.peak / 2**20:.0f} MiB")
    for number, text in found.faults.items():
        print(f"\ncase {number}, options {broken(number)[1]}:\n{text}")
        if given.keep is not None:
            given.keep.mkdir(exist_ok=True)
            (given.keep / f"{number}.onnx").write_bytes(broken(number)[0])
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main()
