"""A training graph in this process: the C that a board runs, as a shared library of this computer.

    lowered = lower(prepared, plan, load_board("nrf52840_dk"))
    with HostNetwork.of(lowered) as net:
        before = net.evaluate_all(x_test, y_test)
        net.train_all(x, y)
        net.settle()
        after = net.evaluate_all(x_test, y_test)

The same samples give the same bits as on a board (the numeric contract, docs/kernels.md), without
the board's protocol and clock. Each HostNetwork has a library, and so a state, of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyodl import __version__
from tinyodl.codegen.network import render_network
from tinyodl.device.codes import Flag
from tinyodl.errors import DataError, UserError
from tinyodl.graph import Array, Graph, of_one_sample, parameters
from tinyodl.host_run.library import pointer, shared_library
from tinyodl.host_run.samples import Layout, Sample, labels_of, targets_of
from tinyodl.host_run.state import HostState
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.tensors import TARGET
from tinyodl.memory.arena import ArenaPlan
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.planner.lowering import Lowered
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets.firmware import C_FLAGS

_INPUT, _TARGET, _OUTPUT = range(3)  # of net_buffers, as net.h numbers them
_STEP = np.dtype([("loss", np.float32), ("predicted", np.int32), ("flags", np.uint32)])


@dataclass(frozen=True)
class Steps:
    """The results of the steps of a stream of N samples, each before learning from its sample.

    losses     (N,) float32; NaN where there is none
    predicted  (N,) int32, the label of the largest output
    flags      (N,) uint32, of `device.protocol.Flag`
    """

    losses: NDArray[np.float32]
    predicted: NDArray[np.int32]
    flags: NDArray[np.uint32]


@dataclass(frozen=True)
class Question:
    """The network's answer for a sample without a label, and whether it wants the label.

    It asks for no label if the margin is at least `threshold`; `flags` has Flag.WANTED if it asks.
    """

    predicted: int
    margin: float
    threshold: float
    flags: Flag


class HostNetwork(HostState):
    """A network that learns in this process.

    A sample `x` has the shape of the model's input, with or without the batch dimension of 1. For a
    model with several inputs it is a tuple of them, or all of them in one row. `x` of N samples has
    one dimension more. A float array for an int8 input is quantised as the host does for a board.
    Outputs and parameters come in their own dtype. Values are not checked: the network itself
    refuses non-finite ones, as on a board.

    Close it, or use it in a `with` statement; its library is then gone.

    training    all nodes of a step
    library     the functions of net.h, for calls without a method here
    parameters  the tensors kept between steps: parameters, then the optimiser's state
    layout      the sample's inputs
    output      the output's tensor
    """

    def __init__(
        self,
        training: Graph,
        arena: ArenaPlan,
        plan: UpdatePlan,
        *,
        folder: Path | None = None,
        compiler: Sequence[str] = (),
        flags: Sequence[str] = C_FLAGS,
    ) -> None:
        """Renders, compiles and loads the network, in its state as compiled.

        The C stays in `folder` where one is given, else nowhere. `compiler` is how its command
        begins; without one, a compiler of this computer is looked for. `flags` that optimise less
        give the same bits. Raises ToolError, with the remedy, where there is no compiler or it
        refuses the C.
        """
        network = render_network(training, arena, plan, source="host", version=__version__)
        command = tuple(compiler) or tuple(find_host_compiler())
        self.training = training
        self.layout = Layout.of(training)
        self.output = training.tensor(training.outputs[0])
        self.target = training.tensors.get(TARGET)
        library = shared_library(network, folder, command, flags)
        super().__init__(library, parameters(training), settings_of(plan, training))

    @classmethod
    def of(cls, lowered: Lowered, **options: Any) -> HostNetwork:
        """The network of a model that was lowered; `options` as for HostNetwork itself."""
        return HostNetwork(lowered.training, lowered.arena, lowered.plan, **options)

    # One sample

    def forward(self, x: Sample) -> Array:
        """The output for a sample, of the output's shape with the batch dimension of 1."""
        self._write(_INPUT, self.layout.encoded(x, 1))
        self.library.net_forward()
        return self._read("net_buffers", _OUTPUT, self.output)

    def evaluate(
        self,
        x: Sample,
        label: int = 0,
        target: ArrayLike | None = None,
    ) -> float:
        """The loss of a sample; nothing is learned.

        `target`, of the output's shape, takes the place of `label` where the loss is mse.
        """
        self._load(x, target)
        return float(self.library.net_evaluate(label))

    def train(
        self,
        x: Sample,
        label: int = 0,
        target: ArrayLike | None = None,
    ) -> float:
        """Learns from a sample; its loss before that."""
        self._load(x, target)
        return float(self.library.net_train(label))

    def predicted(self) -> int:
        """The class of the last sample: the label of the largest output."""
        return int(self.library.net_predicted())

    @property
    def flags(self) -> Flag:
        """Facts that the last step reports beside its prediction."""
        return Flag(self.library.net_flags())

    def ask(self, x: Sample) -> Question:
        """Whether the label of a sample is wanted; `learn` answers. The plan has `query`."""
        self._write(_INPUT, self.layout.encoded(x, 1))
        above = ctypes.c_float()
        margin = float(self._function("net_ask", "query")(ctypes.byref(above)))
        return Question(self.predicted(), margin, above.value, self.flags)

    def learn(self, label: int) -> float:
        """Learns from the sample that `ask` was asked about last; its loss before that."""
        return float(self._function("net_learn", "query")(int(label)))

    # Many samples, in C

    def forward_all(self, x: Sample) -> Array:
        """The outputs (N, ...) for N samples."""
        count = self._count(x)
        made: Array = np.empty((count, *of_one_sample(self.output.shape)), self.output.dtype)
        self.library.host_forward(pointer(self.layout.encoded(x, count)), count, pointer(made))
        return made

    def evaluate_all(
        self,
        x: Sample,
        labels: ArrayLike | None = None,
        targets: ArrayLike | None = None,
    ) -> Steps:
        """Losses and predictions for N samples; nothing is learned.

        `labels` (N,) are class numbers; `targets` (N, ...), for loss mse, have the output's shape.
        A loss that compares the output with the sample itself needs neither. Raises DataError for a
        label that the network does not take.
        """
        return self._stream("host_evaluate", x, labels, targets)

    def train_all(
        self,
        x: Sample,
        labels: ArrayLike | None = None,
        targets: ArrayLike | None = None,
    ) -> Steps:
        """Learns from N samples, one after the other; otherwise like `evaluate_all`.

        At a label that the network does not take it raises DataError, and has learned from the
        samples before.
        """
        return self._stream("host_train", x, labels, targets)

    def ask_all(self, x: Sample, labels: ArrayLike) -> Steps:
        """Learns from the samples, of N, for which the network asks for the label.

        `flags` are those of the answers to `ask`. A sample has a loss if the network learned from
        it. The plan must have `query`.
        """
        return self._stream("host_ask", x, labels, None)

    # Learning without a new sample

    def replay(self, batches: int, order: int) -> tuple[int, float]:
        """Makes `batches` updates from the cache; the number of samples, and their mean loss.

        `order` is a value of `device.protocol.Draw`. The plan must have `cache`.
        """
        samples = ctypes.c_uint32()
        loss = self._function("net_replay", "cache")(batches, order, ctypes.byref(samples))
        return samples.value, float(loss)

    def flush(self) -> int:
        """Applies a gradient batch that is not full; the number of samples in it."""
        return int(self.library.net_flush())

    def settle(self) -> int:
        """Ends a stream: `flush`, then a guard goes back to the best parameters."""
        return int(self.library.host_settle())

    # Between Python and C

    def _stream(
        self,
        function: str,
        x: Sample,
        labels: ArrayLike | None,
        targets: ArrayLike | None,
    ) -> Steps:
        count = self._count(x)
        samples, numbers = self.layout.encoded(x, count), labels_of(labels, count)
        wanted = targets_of(targets, self.target, count)
        steps: NDArray[Any] = np.empty(count, _STEP)
        done = self._function(function, "query")(
            pointer(samples), pointer(wanted), pointer(numbers), count, pointer(steps)
        )
        if done < count:
            raise DataError(
                f"sample {done} has label {numbers[done]}, which the network does not take; it "
                f"has gone through the {done} samples before"
            )
        return Steps(*(steps[name].copy() for name in ("loss", "predicted", "flags")))

    def _function(self, name: str, option: str) -> Any:
        """A function that the network has where its plan says so. Raises UserError elsewhere."""
        try:
            return getattr(self.library, name)
        except AttributeError as error:
            raise UserError(f"this network's plan has no {option!r}, which that needs") from error

    def _count(self, x: Sample) -> int:
        return len(np.asarray(x[0] if isinstance(x, tuple) else x))

    def _load(self, x: Sample, target: ArrayLike | None) -> None:
        self._write(_INPUT, self.layout.encoded(x, 1))
        if target is not None:
            self._write(_TARGET, np.ascontiguousarray(target, np.float32))

    def _write(self, index: int, values: Array) -> None:
        raw = values.tobytes()
        self.library.net_receive(index, 0, raw, len(raw))
