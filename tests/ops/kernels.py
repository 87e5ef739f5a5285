"""A node's kernel call compiled by itself: on whole tensors, or on rows that lie in rings."""

from __future__ import annotations

import ctypes
import functools
import itertools
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests import objects
from tests.kernel_headers import kernel_headers
from tests.quick_c import flags_for
from tinyodl.codegen.literals import c_type, float_literal, initializer
from tinyodl.graph import Graph, Node
from tinyodl.ops import OPERATORS, Argument, Call, Ref, Struct, Symbol, calls_of

_numbers = itertools.count()
Arrays = Mapping[str, np.ndarray]


def run(node: Node, graph: Graph, given: Arrays, folder: Path) -> dict[str, np.ndarray]:
    """The outputs of a node, given its inputs; what no kernel wrote is 0x5a."""
    made = {name: _unwritten(name, graph) for name in node.outputs if name}
    (call,) = calls_of(node, graph)
    compiled(call, node, graph, folder)({**given, **made}, 0, 0)
    return made


def run_by_rows(
    node: Node, graph: Graph, given: Arrays, folder: Path, rng: np.random.Generator
) -> np.ndarray:
    """The first output of a node, made in chunks of rows of a drawn size, from rings to a ring.

    The inputs in the arena are rings that hold what `needs` and `frees` ask for and not one row
    more, or all rows where that is no fewer; the output is a ring as high as the largest chunk.
    """
    rule = OPERATORS[node.op].by_rows
    y = node.outputs[0]
    height = graph.shape(y)[2]
    cuts = sorted({0, height, *rng.integers(0, height + 1, rng.integers(0, 4)).tolist()})
    chunks = list(itertools.pairwise(cuts))
    read = [name for name in dict.fromkeys(node.inputs) if name]
    computed = [name for name in read if graph.tensor(name).data is None]
    x_rows = max(rule.needs(node, graph, e) - rule.frees(node, graph, f) for f, e in chunks)
    held = dict.fromkeys(computed, x_rows) | {y: max(e - f for f, e in chunks)}
    assert all(0 < rows <= graph.shape(name)[2] for name, rows in held.items())
    rings = {name: _ring(name, rows, graph, rng) for name, rows in held.items()}
    helping = {name: _unwritten(name, graph) for name in node.outputs[1:] if name}
    call = rule.call(node, graph, held, Symbol("first"), Symbol("end"))
    kernel = compiled(call, node, graph, folder)
    made, whole = 0, _unwritten(y, graph)
    for first, end in chunks:
        for row in range(made, rule.needs(node, graph, end)):
            for name in computed:
                rings[name][:, :, row % x_rows] = given[name][:, :, row]
        made = max(made, rule.needs(node, graph, end))
        kernel({**given, **helping, **rings}, first, end)
        for row in range(first, end):
            whole[:, :, row] = rings[y][:, :, row % held[y]]
    assert rule.frees(node, graph, height) == graph.shape(node.inputs[0])[2]
    return whole


def compiled(
    call: Call, node: Node, graph: Graph, folder: Path
) -> Callable[[Arrays, int, int], None]:
    """`call` as a function of the tensors that it names, and of the symbols `first` and `end`."""
    tensors = list(
        dict.fromkeys(a.tensor for a in call.arguments if isinstance(a, Ref) and a.tensor)
    )
    names = {name: f"t{i}" for i, name in enumerate(tensors)}
    head = ", ".join(f"{c_type(graph.tensor(t).dtype)} *{names[t]}" for t in tensors)
    arguments = ", ".join(argument(a, names) for a in call.arguments)
    source = (
        f'#include "{OPERATORS[node.op].kernel}"\n'
        f"void run(int32_t first, int32_t end, {head})\n"
        f"{{ (void)first; (void)end; {call.function}({arguments}); }}\n"
    )
    library = folder / f"kernel{next(_numbers)}.so"
    path = library.with_suffix(".c")
    path.write_text(source)
    flags = flags_for(source)
    command = [
        "gcc",
        *flags,
        f"-I{kernel_headers()}",
        "-fPIC",
        "-shared",
        "-o",
        str(library),
        str(path),
    ]
    objects.library(
        [*flags, source, _kernels()], library, lambda: subprocess.run(command, check=True)
    )
    function = ctypes.CDLL(str(library)).run

    def kernel(arrays: Arrays, first: int, end: int) -> None:
        given = [arrays.get(name, graph.tensor(name).data) for name in tensors]
        for name, array in zip(tensors, given, strict=True):
            assert array.dtype == graph.tensor(name).dtype and array.flags["C_CONTIGUOUS"]
        function(first, end, *(array.ctypes.data_as(ctypes.c_void_p) for array in given))

    return kernel


@functools.cache
def _kernels() -> str:
    """All that a kernel's file may include."""
    return "".join(path.read_text() for path in sorted(kernel_headers().glob("*.h")))


def argument(argument: Argument, names: Mapping[str, str]) -> str:
    match argument:
        case Ref(name):
            return names.get(name, "NULL")
        case Symbol(name):
            return name
        case Struct(kind, fields):
            inner = ", ".join(f".{field} = {initializer(value)}" for field, value in fields)
            return f"&(const {kind}){{{inner}}}"
        case float():
            return float_literal(argument)
        case int():
            return str(argument)
    raise AssertionError(argument)


def _unwritten(name: str, graph: Graph) -> np.ndarray:
    tensor = graph.tensor(name)
    return np.frombuffer(b"\x5a" * tensor.nbytes, tensor.dtype).reshape(tensor.shape).copy()


def _ring(name: str, rows: int, graph: Graph, rng: np.random.Generator) -> np.ndarray:
    batch, channels, _, width = graph.shape(name)
    noise = rng.integers(-128, 128, (batch, channels, rows, width))
    return noise.astype(graph.tensor(name).dtype)
