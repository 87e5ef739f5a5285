"""`Client`: a board as an object. One method per command; see `docs/protocol.md`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import numpy as np

from tinyodl.data import check_fractions, encoded
from tinyodl.device import protocol
from tinyodl.device.framing import decode, encode, split
from tinyodl.device.protocol import (
    WRITE_OVERHEAD,
    Asked,
    Buffer,
    Command,
    Draw,
    Flag,
    Hello,
    RefusedError,
    Replayed,
    Reply,
    Saved,
    Statistics,
    Status,
    StepReply,
)
from tinyodl.device.transport import Transport
from tinyodl.errors import BoardError, DataError
from tinyodl.graph import Array
from tinyodl.manifest import ANY_LABEL, Manifest, ParameterRecord

ATTEMPTS = 6  # a request is sent this often before the board counts as silent
HELLO_SECONDS = 6.0  # a board that resets when its port is opened needs some of them
HELLO_PAUSE = 0.25  # between HELLOs
ANSWER_SECONDS = 2.0  # for a request that computes nothing; queues of USB bridges included
STORE_BYTES = 128 * 1024
STORE_SECONDS = 12.0  # erasing so much: at most 2.9 s on nRF52840, 4 s on STM32F4
CYCLES_PER_MAC = 64  # several times what the kernels need
SECONDS_PER_MAC = 1e-6  # at least: an emulator on a busy machine is slower than a fast board


class Client:
    """The host's end of a session with a board that runs the firmware of `manifest`.

    Every method raises BoardError when the board is silent or its line is gone, RefusedError (a
    BoardError) when it answers with an error, and DataError for arrays that do not fit the model.
    The first call says HELLO. A request whose answer is lost is sent again, and the board carries
    it out only once.
    """

    def __init__(
        self, transport: Transport, manifest: Manifest, *, sequence: int | None = None
    ) -> None:
        """`sequence` is the first sequence number, by default a random one.

        Random, so that a reply left over from an earlier session is not taken for one of this.
        """
        self._transport = transport
        self._replayed = manifest.plan.replay  # samples of the update of a step, as far as known
        self._manifest = manifest
        self._sequence = secrets.randbelow(0x10000) if sequence is None else sequence
        self._hello: Hello | None = None
        self._pending = b""
        self.sent = self.received = 0  # bytes on the line so far

    # Session

    def hello(self) -> Hello:
        """Begins a session and says who the board is. Repeats until the board answers.

        Raises BoardError when it does not answer, speaks another version, or runs other firmware.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        frame = encode(protocol.request(Command.HELLO, self._sequence, protocol.hello_body()))
        deadline = time.monotonic() + HELLO_SECONDS
        while True:
            self._send(b"\0" + frame)
            reply = self._answer(Command.HELLO, self._sequence, HELLO_PAUSE, hasty=False)
            if reply is not None:
                break
            if time.monotonic() > deadline:
                raise self._silent()
        if reply.status is not Status.OK:
            raise RefusedError(Command.HELLO, reply)
        version = protocol.parse_version(reply.body)
        if version != protocol.VERSION:
            raise BoardError(
                f"the board on {self._transport.name} speaks protocol version {version}, this "
                f"tinyodl {protocol.VERSION}: flash it with `tinyodl flash DIR`"
            )
        hello = protocol.parse_hello(reply.body)
        if hello.model_id != self._manifest.model_id:
            raise BoardError(
                f"the board on {self._transport.name} runs other firmware (model {hello.model_id}, "
                f"not {self._manifest.model_id}): flash it with `tinyodl flash DIR`"
            )
        self._hello = hello
        return hello

    def statistics(self) -> Statistics:
        """Cycles per phase and counts since boot, stack high-water mark."""
        return protocol.parse_statistics(self._request(Command.STATISTICS))

    def reboot(self) -> None:
        """Restarts the board, which then has the weights of its store. The session goes on."""
        self._request(Command.REBOOT)
        self._hello = None

    def close(self) -> None:
        """Lets go of the line."""
        self._transport.close()

    # Samples and steps

    def upload(self, x: Array, target: Array | None = None) -> None:
        """Sends a sample of the model's input shape, with or without the batch dimension of 1.

        Its values are real numbers, also where the board's input is int8: then they are quantised.
        `target` has the output's shape, for loss mse. The next step uses the sample up.
        """
        model = self._manifest.model
        values = _checked("x", x, model.input_shape, "float32")
        if self._manifest.plan.loss == "reconstruction-cross-entropy":
            check_fractions(values.reshape(1, -1), "x")
        forward = self._manifest.macs.forward if model.input_by_rows else 0
        self._upload(Buffer.INPUT, encoded(values, model), self._compute_seconds(forward))
        if target is not None:
            self._upload(Buffer.TARGET, _values("the target", target, model.output_shape))

    def infer(self, x: Array) -> Array:
        """The network's output, float32 of the model's output shape (batch dimension included)."""
        self.upload(x)
        self._request(Command.INFER, seconds=self._compute_seconds(self._manifest.macs.forward))
        shape = self._manifest.model.output_shape
        data = self._read(
            4 * int(np.prod(shape)),
            Command.READ,
            lambda offset, count: protocol.read_body(Buffer.OUTPUT, offset, count),
        )
        return np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)

    def evaluate(self, x: Array, label: int | Array) -> StepReply:
        """Prediction and loss of a sample; nothing is learned. `label` as for `train`."""
        seconds = self._compute_seconds(self._manifest.macs.forward)
        return self._step(Command.EVALUATE, x, label, seconds)

    def train(self, x: Array, label: int | Array) -> StepReply:
        """Learns from a sample; prediction and loss are those before the update.

        `label` is the class, or for loss mse the target of the output's shape; -1 where the plan
        takes samples without a label, which then have no loss (NaN).
        """
        seconds = self._compute_seconds(self._manifest.macs.forward) + self._learning_seconds()
        return self._step(Command.TRAIN, x, label, seconds)

    def replay(self, batches: int, order: Draw) -> Replayed:
        """Learns from what is in the cache: so many updates of the plan's `batch` samples.

        Ends early with an epoch, where the order has any. At most 256 updates a request.
        """
        macs = batches * self._manifest.plan.batch * self._manifest.replay_macs
        macs += batches * self._manifest.macs.update + self._manifest.retest_macs
        seconds = self._compute_seconds(macs)
        body = protocol.replay_body(batches, order)
        return protocol.parse_replayed(self._request(Command.REPLAY, body, seconds=seconds))

    def flush(self) -> int:
        """Applies a gradient batch that is not full; the number of samples in it."""
        seconds = self._compute_seconds(self._manifest.macs.update)
        return protocol.parse_number(self._request(Command.FLUSH, seconds=seconds))

    def settle(self) -> Flag:
        """`flush`, and what the guard then did: it ends a stream with the best parameters."""
        seconds = self._compute_seconds(self._manifest.macs.update + self._manifest.retest_macs)
        return protocol.parse_flush_flags(self._request(Command.FLUSH, seconds=seconds))

    # Labels on request

    def ask(self, x: Array | None = None) -> Asked:
        """Prediction and margin of a sample, and whether the board wants its label.

        Without `x` it is the sample that was uploaded. `learn` answers, as long as nothing else is
        done with the board; another sample says that there is no answer. The project was compiled
        with `query`.
        """
        if x is not None:
            self.upload(x)
        seconds = self._compute_seconds(self._manifest.macs.forward)
        return protocol.parse_asked(self._request(Command.ASK, seconds=seconds))

    def learn(self, label: int | Array) -> StepReply:
        """Learns from the sample of the last `ask`, with the same bits as `train` would."""
        body = protocol.label_body(self._label(label))
        return self._labelled(Command.LEARN, body, label, self._learning_seconds())

    # Weights

    def read_parameter(self, index: int) -> Array:
        """A parameter as the board has it now, of the manifest's shape and dtype."""
        record = self._parameter(index)
        data = self._read(
            record.bytes,
            Command.PARAMETER_READ,
            lambda offset, count: protocol.parameter_read_body(index, offset, count),
        )
        dtype = np.dtype(record.dtype)
        return np.frombuffer(data, dtype.newbyteorder("<")).reshape(record.shape).astype(dtype)

    def write_parameter(self, index: int, values: Array, *, finite: bool = True) -> None:
        """Replaces a parameter by values of its shape and dtype, if `finite` finite ones."""
        record = self._parameter(index)
        self._write(
            _values(f"parameter {record.name}", values, record.shape, record.dtype, finite),
            Command.PARAMETER_WRITE,
            lambda offset, data: protocol.parameter_write_body(index, offset, data),
        )

    def learning_rate(self, rate: float | None = None) -> float:
        """The learning rate of the steps to come; sets it first when one is given (not negative).

        It lasts until the board restarts: the store does not keep it.
        """
        if rate is not None and not (np.isfinite(np.float32(rate)) and rate >= 0):
            raise DataError(f"learning rate {rate} is not a finite number that is at least 0")
        body = b"" if rate is None else protocol.rate_body(rate)
        return protocol.parse_rate(self._request(Command.LEARNING_RATE, body))

    def setting(self, name: str, value: float | None = None) -> float:
        """A setting of the manifest as it is now; sets it first when a value is given.

        It lasts until the board restarts: the store does not keep it. Raises DataError for a name
        that there is not, and for a value out of its range.
        """
        names = [setting.name for setting in self._manifest.settings]
        if name not in names:
            known = f"it has {', '.join(names)}" if names else "it has none"
            raise DataError(f"this firmware has no setting {name!r}; {known}")
        index = names.index(name)
        record = self._manifest.settings[index]
        if value is not None and not record.least <= np.float32(value) <= record.most:
            raise DataError(
                f"setting {name} = {value}: give a number from {record.least:g} to {record.most:g}"
            )
        body = protocol.setting_body(index, value)
        is_now = protocol.parse_rate(self._request(Command.SETTING, body))
        if name == "replay":
            self._replayed = int(is_now)
        return is_now

    def save(self) -> int:
        """Saves weights and optimiser state in the board's flash; the state's generation."""
        return protocol.parse_number(self._request(Command.SAVE, seconds=STORE_SECONDS))

    def restore(self, *, again: bool = False) -> Saved:
        """Goes back to the last saved state.

        What the network keeps in flash stays as it is now, unless the samples since that state come
        `again`: then it counts as it did then. Raises RefusedError where flash no longer holds it.
        """
        body = protocol.restore_body(again)
        return protocol.parse_restored(self._request(Command.RESTORE, body, seconds=STORE_SECONDS))

    def say_steps(self, steps: int) -> None:
        """Tells how many samples the parameters have learned from that were written back."""
        self._request(Command.STEPS, protocol.steps_body(steps))

    def reset(self, *, forget: bool = True) -> None:
        """Goes back to the weights in the ONNX file. What is in the store stays there.

        A cache of features is emptied; in flash only to `forget`.
        """
        seconds = ANSWER_SECONDS + self._store_seconds()
        self._request(Command.RESET, b"" if forget else b"\x01", seconds=seconds)

    # Requests

    def _greeted(self) -> Hello:
        return self._hello if self._hello is not None else self.hello()

    def _request(
        self, command: Command, body: bytes = b"", *, seconds: float = ANSWER_SECONDS
    ) -> bytes:
        """The body of the reply to a request that is carried out once."""
        self._greeted()
        self._sequence = (self._sequence + 1) & 0xFFFF
        frame = encode(protocol.request(command, self._sequence, body))
        for attempt in range(ATTEMPTS):
            # The zero ends whatever is left of a frame that arrived without its own.
            self._send(b"\0" + frame if attempt else frame)
            reply = self._answer(command, self._sequence, seconds, hasty=True)
            if reply is not None:
                if reply.status is not Status.OK:
                    raise RefusedError(command, reply)
                return reply.body
        raise self._silent()

    def _send(self, data: bytes) -> None:
        self._transport.write(data)
        self.sent += len(data)

    def _answer(
        self, command: Command, sequence: int, seconds: float, *, hasty: bool
    ) -> Reply | None:
        """The reply to a request; None when it does not come in time.

        Replies to other requests are left-overs and dropped. A hasty wait ends early when a frame
        was damaged on its way, there or back: then it is time to ask again.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            arrived = self._transport.read(left)
            if not arrived:  # the time is over, or an emulated board waits for a request
                return None
            self.received += len(arrived)
            frames, self._pending = split(self._pending + arrived)
            damaged = False
            for frame in frames:
                message = decode(frame)
                reply = None if message is None else protocol.parse_reply(message)
                if reply is None or reply.status is Status.BAD_FRAME:
                    damaged = True
                elif (reply.command, reply.sequence) == (command, sequence):
                    return reply
            if damaged and hasty:
                return None
        return None

    def _silent(self) -> BoardError:
        return BoardError(
            f"the board does not answer on {self._transport.name}; is it powered, is this its "
            "port, and was it flashed with `tinyodl flash DIR`?"
        )

    def _store_seconds(self) -> float:
        """What erasing the flash may take that the network keeps samples in."""
        parts = self._manifest.flash.parts
        kept = parts.get("cache", 0) + parts.get("guard", 0)
        return -(-kept // STORE_BYTES) * STORE_SECONDS

    def _compute_seconds(self, macs: int) -> float:
        per_mac = max(CYCLES_PER_MAC / self._greeted().clock_hz, SECONDS_PER_MAC)
        return ANSWER_SECONDS + macs * per_mac

    def _learning_seconds(self) -> float:
        """Of all behind the forward pass: other samples of the cache and the guard's test too."""
        macs = self._manifest.macs
        again = max(self._replayed - 1, 0) * self._manifest.replay_macs
        every = macs.backward + macs.update + again + self._manifest.retest_macs
        return self._compute_seconds(every) + self._store_seconds()

    def _step(self, command: Command, x: Array, label: int | Array, seconds: float) -> StepReply:
        if self._manifest.target_bytes:
            self.upload(x, np.asarray(label))
            body = protocol.label_body(-1)
        else:
            body = protocol.label_body(self._label(label))
            self.upload(x)
        return self._labelled(command, body, label, seconds)

    def _labelled(
        self, command: Command, body: bytes, label: int | Array, seconds: float
    ) -> StepReply:
        try:
            reply = self._request(command, body, seconds=seconds)
        except RefusedError as error:
            if error.status is Status.RANGE and self._manifest.plan.labels is not None:
                raise DataError(
                    f"label {label} is new, and all {error.detail} outputs of the network stand "
                    "for others; nothing has changed. Compile with a larger --max-classes"
                ) from error
            raise
        return protocol.parse_step(reply)

    def _label(self, label: int | Array) -> int:
        value = np.asarray(label)
        plan, classes = self._manifest.plan, self._greeted().classes
        if plan.labels is not None:
            classes = ANY_LABEL
        least = -1 if plan.may_be_unlabelled else 0
        if value.size != 1 or value.dtype.kind not in "iu" or not least <= value.item() < classes:
            raise DataError(f"label {label!r} is not a class from {least} to {classes - 1}")
        return int(value.item())

    def _parameter(self, index: int) -> ParameterRecord:
        parameters = self._manifest.parameters
        if not 0 <= index < len(parameters):
            raise DataError(f"parameter {index} does not exist; the model has {len(parameters)}")
        return parameters[index]

    def _upload(self, buffer: Buffer, data: bytes, seconds: float = ANSWER_SECONDS) -> None:
        self._write(
            data,
            Command.WRITE,
            lambda offset, piece: protocol.write_body(buffer, offset, piece),
            seconds,
        )

    def _write(
        self,
        data: bytes,
        command: Command,
        body: Callable[[int, bytes], bytes],
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        piece = self._greeted().max_body - WRITE_OVERHEAD
        for offset in range(0, len(data), piece):
            self._request(command, body(offset, data[offset : offset + piece]), seconds=seconds)

    def _read(self, size: int, command: Command, body: Callable[[int, int], bytes]) -> bytes:
        piece = self._greeted().max_body
        data = b""
        while len(data) < size:
            data += self._request(command, body(len(data), min(piece, size - len(data))))
        return data


def _values(
    what: str,
    values: Array,
    shape: tuple[int, ...],
    dtype: str = "float32",
    finite: bool = True,
) -> bytes:
    """Little-endian values of an array that fits."""
    data = _checked(what, values, shape, dtype, finite)
    return data.astype(data.dtype.newbyteorder("<")).tobytes()


def _checked(
    what: str, values: Array, shape: tuple[int, ...], dtype: str, finite: bool = True
) -> Array:
    """The array as `dtype`; it must have `shape`, or `shape` without its first 1."""
    array = np.asarray(values)
    if array.shape != shape and not (shape[:1] == (1,) and array.shape == shape[1:]):
        raise DataError(f"{what} has shape {array.shape}, the model takes {shape}")
    wanted = np.dtype(dtype)
    if array.dtype.kind not in ("fiub" if wanted.kind == "f" else "iub"):
        raise DataError(f"{what} has dtype {array.dtype}, the model takes {dtype}")
    data = np.ascontiguousarray(array, dtype=wanted)
    if finite and not np.isfinite(data).all():
        raise DataError(f"{what} has values that are not finite in {dtype}")
    return data
