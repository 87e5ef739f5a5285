"""The device's half of the protocol on a test bench: as a library, and as a program.

Both are `templates/device` around `fake_net`, a softmax regression with 4 inputs (or 200, to need
several WRITEs), 3 classes, a gradient batch of 2 and four parameters.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tinyodl.device import codes, protocol
from tinyodl.device.framing import decode, encode, split
from tinyodl.graph import Storage
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.project import manifest as mf
from tinyodl.project.plan import UpdatePlan
from tinyodl.resources import TEMPLATES
from tinyodl.targets import firmware

HERE = Path(__file__).parent
CLASSES = 3
RATE = 0.5
MODEL_ID = "face000000000001"
SLOT_BYTES = 256
PARAMETERS = ("weight", "bias", "gradient", "collected")


# What the tests build


def write_config(folder: Path) -> None:
    """The `config.h` of the board "bench"."""
    (folder / "config.h").write_text(
        '#define TINYODL_BOARD "bench"\n'
        f"#define TINYODL_MAX_BODY {firmware.MAX_BODY}u\n"
        f"#define TINYODL_RECEIVE_RING {firmware.RECEIVE_RING}u\n"
        f"#define TINYODL_STACK_BYTES {firmware.STACK_BYTES}u\n"
    )


def build_library(folder: Path, *options: str) -> Path:
    """The server as a shared library around `inprocess/port.c`; undefined behaviour traps."""
    write_config(folder)
    sources = [
        *sorted((TEMPLATES / "device").glob("*.c")),
        HERE / "fake_net/net.c",
        HERE / "inprocess/port.c",
    ]
    templates = (TEMPLATES / name for name in ("device", "ports", "kernels"))
    includes = (folder, *templates, HERE / "fake_net")
    library = folder / "server.so"
    subprocess.run(
        [
            *find_host_compiler(), *firmware.C_FLAGS, "-fPIC", "-shared",
            "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error",
            *options, *(f"-I{include}" for include in includes), *sources, "-o", library, "-lm",
        ],
        check=True,
    )  # fmt: skip
    return library


def write_project(folder: Path) -> Path:
    """A project as `tinyodl compile` lays it out for board "host", with the fake network."""
    for name, source in {
        "src": TEMPLATES / "project/src",
        "lib/net": HERE / "fake_net",
        "lib/device": TEMPLATES / "device",
        "lib/port": TEMPLATES / "ports/host",
    }.items():
        shutil.copytree(source, folder / name)
    shutil.copy(TEMPLATES / "ports/port.h", folder / "lib/port")
    shutil.copy(TEMPLATES / "kernels/flags.h", folder / "lib/net")
    write_config(folder / "lib/port")
    return folder


def build_program(project: Path, program: Path, *options: str) -> Path:
    """The host build of a project, linked with what the fake network needs."""
    folders = [project / "lib" / name for name in ("net", "device", "port")]
    sources = [source for folder in folders for source in sorted(folder.glob("*.c"))]
    includes = [f"-I{folder}" for folder in folders]
    command = [*find_host_compiler(), *firmware.C_FLAGS, *options, *includes]
    subprocess.run([*command, project / "src/main.c", *sources, "-o", program, "-lm"], check=True)
    return program


def manifest(
    inputs: int = 4,
    *,
    mse: bool = False,
    int8: bool = False,
    by_rows: bool = False,
    model_id: str = MODEL_ID,
) -> mf.Manifest:
    """The manifest of the fake network."""
    quantization = mf.QuantizationRecord(scale=1 / 32, zero_point=-3)
    shapes: dict[str, tuple[int, ...]] = {
        "weight": (CLASSES, inputs),
        "bias": (CLASSES,),
        "gradient": (CLASSES, inputs),
        "collected": (),
    }
    parameters = tuple(
        mf.ParameterRecord(
            index=index,
            name=name,
            shape=shapes[name],
            dtype="int32" if name == "collected" else "float32",
            bytes=4 * int(np.prod(shapes[name])),
            storage=Storage.PARAMETER if index < 2 else Storage.STATE,
            origin=None,
        )
        for index, name in enumerate(PARAMETERS)
    )
    nothing = mf.MemoryRecord(parts={}, total=0)
    return mf.Manifest(
        format=mf.FORMAT,
        tinyodl="0",
        model_id=model_id,
        protocol=protocol.VERSION,
        board="host",
        model=mf.ModelRecord(
            source="fake.onnx",
            sha256="0" * 64,
            input_name="x",
            input_shape=(1, 2, inputs, 3) if by_rows else (1, inputs),
            input_quantization={"x": quantization} if int8 else {},
            input_by_rows=by_rows,
            output_name="y",
            output_shape=(1, CLASSES),
            macs=CLASSES * inputs,
        ),
        plan=UpdatePlan(loss="mse" if mse else "cross-entropy", batch=2),
        layers=(),
        parameters=parameters,
        schedule=(),
        arena=mf.ArenaRecord(bytes=0, lower_bound=0, tensors=()),
        ram=nothing,
        flash=nothing,
        macs=mf.MacsRecord(forward=CLASSES * inputs, backward=CLASSES * inputs, update=0),
    )


# The server as a library


class _NetBuffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_uint32))


class Flash:
    """Two erased slots of NOR flash that outlive the servers which use them."""

    def __init__(self, slot_bytes: int = SLOT_BYTES, content: bytes | None = None) -> None:
        self.slot_bytes = slot_bytes
        self.memory = (ctypes.c_uint8 * (2 * slot_bytes))(*(content or b"\xff" * 2 * slot_bytes))

    def copy(self) -> Flash:
        return Flash(self.slot_bytes, bytes(self.memory))


class Server:
    """A board that has just got power: an instance of the library of its own."""

    _instances = itertools.count()

    def __init__(
        self, library: Path, flash: Flash | None = None, *, power: int = 2**62, torn: int = 0
    ) -> None:
        """`power`: flash operations until it fails; `torn`: bits that the last one leaves."""
        copy = library.with_name(f"instance{next(self._instances)}.so")
        shutil.copy(library, copy)
        self.c = ctypes.CDLL(str(copy))
        copy.unlink()
        self.flash = flash or Flash()
        self.c.test_flash(
            self.flash.memory, self.flash.slot_bytes, ctypes.c_int64(power), ctypes.c_uint32(torn)
        )
        self.c.net_learning_rate.restype = ctypes.c_float
        table = (_NetBuffer * len(PARAMETERS)).in_dll(self.c, "net_parameters")
        self._parameters = [(entry.data, entry.bytes) for entry in table]
        self.c.server_start()

    def exchange(self, stream: bytes) -> bytes:
        """What the server sends back for a stretch of bytes."""
        sent = ctypes.POINTER(ctypes.c_uint8)()
        count = self.c.test_exchange(stream, len(stream), ctypes.byref(sent))
        return ctypes.string_at(sent, count)

    def replies(self, stream: bytes) -> list[protocol.Reply]:
        """The same as replies; everything the server sends must be whole frames."""
        frames, rest = split(self.exchange(stream))
        assert rest == b""
        return [parse(frame) for frame in frames]

    def ask(self, command: int, sequence: int, body: bytes = b"") -> protocol.Reply:
        """The one reply to a request."""
        [reply] = self.replies(frame(command, sequence, body))
        return reply

    def state(self) -> bytes:
        """Everything that learns, and the learning rate."""
        parts = [ctypes.string_at(data, size) for data, size in self._parameters]
        return b"".join(parts) + np.float32(self.c.net_learning_rate()).tobytes()

    def parameter(self, name: str) -> np.ndarray:
        data, size = self._parameters[PARAMETERS.index(name)]
        return np.frombuffer(ctypes.string_at(data, size), "<f4")


def parse(frame: bytes) -> protocol.Reply:
    """The reply in a frame that must be intact."""
    message = decode(frame)
    assert message is not None
    reply = protocol.parse_reply(message)
    assert reply is not None
    return reply


# Requests


def frame(command: int, sequence: int, body: bytes = b"") -> bytes:
    """A request's frame; commands that do not exist too."""
    return encode(bytes((command, 0)) + (sequence & 0xFFFF).to_bytes(2, "little") + body)


def hello(sequence: int = 0) -> bytes:
    return frame(codes.Command.HELLO, sequence, protocol.hello_body())


def write(sequence: int, values: Iterable[float], offset: int = 0, buffer: int = 0) -> bytes:
    data = np.asarray(values, "<f4").tobytes()
    return frame(codes.Command.WRITE, sequence, bytes((buffer, 0, 0, 0)) + u32(offset) + data)


def piece(number: int, offset: int, data: bytes) -> bytes:
    return encode(protocol.piece(number, offset, data))


def pieces(number: int, values: Iterable[float], length: int) -> bytes:
    """A whole sample in pieces for the step with this number."""
    data = np.asarray(values, "<f4").tobytes()
    return b"".join(piece(number, at, data[at : at + length]) for at in range(0, len(data), length))


def train(sequence: int, label: int) -> bytes:
    return frame(codes.Command.TRAIN, sequence, label.to_bytes(4, "little", signed=True))


def session(samples: Iterable[tuple[Iterable[float], int]], sequence: int = 0) -> list[bytes]:
    """HELLO, then a WRITE and a TRAIN for each (values, label)."""
    frames = [hello(sequence)]
    for values, label in samples:
        frames.append(write(sequence + len(frames), values))
        frames.append(train(sequence + len(frames), label))
    return frames


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")
