"""A generated network compiled for the machine that runs the tests, called through ctypes.

This is the very C that goes into the firmware, without the board around it.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from tests.quick_c import flags_for
from tinyodl.codegen.network import Network, render_network
from tinyodl.graph import Graph, Tensor, parameters
from tinyodl.learning.beside.adding import with_features
from tinyodl.memory.arena import plan_arena
from tinyodl.ops.rows import arriving
from tinyodl.project.plan import UpdatePlan
from tinyodl.training import differentiate, sample_inputs

# What lib/device provides. The flash takes every word once after it was erased, as NOR flash does,
# and `flash_left` words at all.
_DEVICE = """
#include "net.h"
void net_mark(net_phase p) { (void)p; }
#ifdef NET_FLASH
#include "flash.h"
#ifndef NET_FEATURE_BYTES
#define NET_FEATURE_BYTES 4
#endif
#ifndef NET_BEST_BYTES
#define NET_BEST_BYTES 4
#endif
uint32_t flash[(NET_FEATURE_BYTES + 3) / 4], best[(NET_BEST_BYTES + 3) / 4];
uint32_t flash_left = UINT32_MAX, flash_erased;
static uint32_t *const regions[] = {flash, best};
const uint8_t *flash_at(uint32_t region) { return (const uint8_t *)regions[region]; }
int flash_erase(uint32_t region)
{
    memset(regions[region], 0xff, region == FLASH_BEST ? sizeof best : sizeof flash);
    flash_erased++;
    return flash_left ? 0 : -1;
}
int flash_write(uint32_t region, uint32_t offset, const void *from, uint32_t count)
{
    const uint8_t *bytes = from;
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t *to = regions[region] + (offset + i) / 4, word;
        memcpy(&word, bytes + i, 4);
        if (flash_left == 0 || *to != 0xffffffffu)
            return -1;
        flash_left--;
        *to = word;
    }
    return 0;
}
#endif
"""


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_uint32)]


class HostNet:
    """One network: `x` and `target` go in, `forward`, `evaluate` and `train` run it.

    Where the graph has several inputs, `x` is a tuple of them. An int8 input is given as real
    numbers, which are quantised, or as int8. Outputs and parameters come in their own dtype.
    `passes` go over the training graph. What goes in is given in pieces of at most `piece` bytes.
    """

    piece = 1 << 30

    def __init__(
        self,
        graph: Graph,
        plan: UpdatePlan,
        folder: Path,
        compiler=("gcc",),
        passes=(),
        seen=None,
        optimised=None,
        **start,
    ) -> None:
        self.training = with_features(differentiate(graph, plan, **start), plan, seen)
        for improve in passes:
            self.training = improve(self.training)
        self.arena = plan_arena(self.training)
        network = render_network(self.training, self.arena, plan, source="test.onnx", version="0")
        self.library = build(network, folder, compiler, optimised)
        self.parameters = parameters(self.training)
        self.inputs = [graph.tensor(name) for name in sample_inputs(graph)]
        self.by_rows = arriving(self.training) is not None
        self.output = self.training.tensor(graph.outputs[0])
        self.input_shapes = [tensor.shape for tensor in self.inputs]
        for name in ("net_evaluate", "net_train"):
            getattr(self.library, name).restype = ctypes.c_float
        self.library.net_flush.restype = ctypes.c_uint32
        self.library.net_set_learning_rate.argtypes = [ctypes.c_float]
        self.library.net_reset()

    def forward(self, x: np.ndarray) -> np.ndarray:
        self._write_sample(x)
        self.library.net_forward()
        return self._read("net_buffers", 2, self.output)

    def evaluate(self, x: np.ndarray, label: int = 0, target: np.ndarray | None = None) -> float:
        self._load(x, target)
        return self.library.net_evaluate(label)

    def train(self, x: np.ndarray, label: int = 0, target: np.ndarray | None = None) -> float:
        self._load(x, target)
        return self.library.net_train(label)

    def replay(self, batches: int, order: int) -> tuple[int, float]:
        """Updates from the cache: the number of samples, and their mean loss."""
        samples = ctypes.c_uint32()
        self.library.net_replay.restype = ctypes.c_float
        loss = self.library.net_replay(batches, order, ctypes.byref(samples))
        return samples.value, loss

    def flush(self) -> int:
        return self.library.net_flush()

    def predicted(self) -> int:
        return self.library.net_predicted()

    def parameter(self, name: str) -> np.ndarray:
        index = [tensor.name for tensor in self.parameters].index(name)
        return self._read("net_parameters", index, self.parameters[index])

    def _load(self, x: np.ndarray, target: np.ndarray | None) -> None:
        self._write_sample(x)
        if target is not None:
            self._write(1, np.ascontiguousarray(target, np.float32).tobytes())

    def _write_sample(self, x: np.ndarray | tuple[np.ndarray, ...]) -> None:
        parts = x if isinstance(x, tuple) else (x,)
        raw = b""
        for part, tensor in zip(parts, self.inputs, strict=True):
            array = np.asarray(part).reshape(tensor.shape)
            sent = array.transpose(0, 2, 1, 3) if self.by_rows else array
            raw += bytes(-len(raw) % tensor.itemsize) + _bytes(sent, tensor)
        self._write(0, raw)

    def _buffer(self, table: str, index: int) -> _Buffer:
        return (_Buffer * (index + 1)).in_dll(self.library, table)[index]

    def _write(self, index: int, raw: bytes) -> None:
        buffer = self._buffer("net_buffers", index)
        assert buffer.bytes == (0 if self.by_rows and index == 0 else len(raw))
        for offset in range(0, len(raw), self.piece):
            piece = raw[offset : offset + self.piece]
            self.library.net_receive(index, offset, piece, len(piece))

    def _read(self, table: str, index: int, tensor: Tensor) -> np.ndarray:
        buffer = self._buffer(table, index)
        raw = ctypes.string_at(buffer.data, buffer.bytes)
        return np.frombuffer(raw, tensor.dtype).copy().reshape(tensor.shape)


def _bytes(values: np.ndarray, tensor: Tensor) -> bytes:
    array = np.asarray(values)
    if tensor.dtype == "int8" and array.dtype.kind == "f":
        array = tensor.quantization.quantize(array)
    return np.ascontiguousarray(array, tensor.dtype).tobytes()


def build(network: Network, folder: Path, compiler=("gcc",), optimised=None) -> ctypes.CDLL:
    """Compile `lib/net` warning-free into a shared library.

    Where `optimised` is not given, one network in eight is (see `tests.quick_c`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in network.files.items():
        (folder / name).write_text(text)
    (folder / "device.c").write_text(_DEVICE)
    library = folder / "net.so"
    sources = [folder / name for name in ("net.c", "weights.c", "device.c")]
    flags = flags_for(network.files.values(), optimised)
    subprocess.run([*compiler, *flags, "-fPIC", "-shared", "-o", library, *sources], check=True)
    return ctypes.CDLL(str(library))
