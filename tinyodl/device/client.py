"""`Client`: a board as an object. One method per command; see `docs/protocol.md`."""

from __future__ import annotations

import secrets

import numpy as np

from tinyodl.device import protocol
from tinyodl.device.arrays import checked, label_of, values_of
from tinyodl.device.codes import Buffer, Command, Draw, Flag, Status
from tinyodl.device.durations import STORE_SECONDS, Durations
from tinyodl.device.exchanges import ANSWER_SECONDS, Exchanges
from tinyodl.device.link import PATIENCE, Link
from tinyodl.device.protocol import Asked, Hello, Replayed, Saved, Statistics, StepReply
from tinyodl.device.refusals import RefusedError
from tinyodl.device.transport import Transport
from tinyodl.errors import BoardError, DataError
from tinyodl.graph import Array
from tinyodl.project.manifest import ANY_LABEL, Manifest, ParameterRecord
from tinyodl.samples.data import check_fractions, encoded


class Client:
    """The host's end of a session with a board that runs the firmware of `manifest`.

    Every method raises LineLostError (a BoardError) when the line is gone or brings no answer,
    RefusedError (a BoardError) when the board answers with an error, and DataError for arrays that
    do not fit the model. The first call says HELLO, and raises BoardError when nothing answers. A
    request whose answer is lost is sent again, and the board carries it out only once.
    """

    def __init__(
        self,
        transport: Transport,
        manifest: Manifest,
        *,
        sequence: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """`sequence` is the first sequence number, by default random: no old reply fits then.

        `patience` is how long the client goes on without any answer, in seconds, beyond the time
        that the board may need for it.
        """
        start = secrets.randbelow(0x10000) if sequence is None else sequence
        self._transport = transport
        self._exchanges = Exchanges(
            Link(transport, start, patience), in_order=manifest.model.input_by_rows
        )
        samples = max((s.samples_a_step for s in manifest.plan.beside.values()), default=1)
        self._durations = Durations(manifest, samples)  # as far as known
        self._manifest = manifest
        self._hello: Hello | None = None

    @property
    def sent(self) -> int:
        """Bytes to the board so far."""
        return self._exchanges.link.sent

    @property
    def received(self) -> int:
        """Bytes from the board so far."""
        return self._exchanges.link.received

    # Session

    def hello(self) -> Hello:
        """Begins a session and says who the board is. Repeats until the board answers.

        Raises BoardError when it does not answer, speaks another version, or runs other firmware.
        """
        body = self._exchanges.hello()
        version = protocol.parse_version(body)
        if version != protocol.VERSION:
            raise BoardError(
                f"the board on {self._transport.name} speaks protocol version {version}, this "
                f"tinyodl {protocol.VERSION}: flash it with `tinyodl flash DIR`"
            )
        hello = protocol.parse_hello(body)
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

        Its values are real numbers; for a board with an int8 input they are quantised. `target` has
        the output's shape, for loss mse. The next step uses the sample up, and finds out which
        parts have not arrived; any other request makes the board drop the sample.
        """
        self._upload(self._sample_bytes(x, target))

    def infer(self, x: Array) -> Array:
        """The network's output, float32 of the model's output shape (batch dimension included)."""
        self._upload(self._sample_bytes(x, None))
        shape = self._manifest.model.output_shape
        size = 4 * int(np.prod(shape))
        most = self._greeted().max_body - protocol.INFER_OVERHEAD
        count = min(size, self._exchanges.readable(most))
        seconds = self._computing(self._manifest.macs.forward)
        reply = self._exchanges.step(Command.INFER, protocol.infer_body(count), seconds)
        data = self._exchanges.read(
            size,
            Command.READ,
            lambda offset, count: protocol.read_body(Buffer.OUTPUT, offset, count),
            reply[protocol.INFER_OVERHEAD :],
        )
        return np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)

    def evaluate(
        self, x: Array, label: int | Array, then: tuple[Array, int | Array] | None = None
    ) -> StepReply:
        """Prediction and loss of a sample; nothing is learned. `label`, `then` as for `train`."""
        seconds = self._computing(self._manifest.macs.forward)
        return self._step(Command.EVALUATE, x, label, seconds, then)

    def train(
        self, x: Array, label: int | Array, then: tuple[Array, int | Array] | None = None
    ) -> StepReply:
        """Learns from a sample; prediction and loss are those before the update.

        `label` is the class, or for loss mse the target of the output's shape; -1 where the plan
        takes samples without a label, which then have no loss (NaN). `then` is the sample with its
        label that `train` or `evaluate` gets next: it travels while the board works on this one.
        It decides nothing; another one may come.
        """
        seconds = self._computing(self._manifest.macs.forward) + self._learning()
        return self._step(Command.TRAIN, x, label, seconds, then)

    def replay(self, batches: int, order: Draw) -> Replayed:
        """Learns from what is in the cache: so many updates of the plan's `batch` samples.

        Ends early with an epoch, where the order has any. At most 256 updates a request.
        """
        macs = batches * self._manifest.plan.batch * self._manifest.replay_macs
        macs += batches * self._manifest.macs.update + self._manifest.macs_beside
        seconds = self._computing(macs)
        body = protocol.replay_body(batches, order)
        return protocol.parse_replayed(self._request(Command.REPLAY, body, seconds=seconds))

    def flush(self) -> int:
        """Applies a gradient batch that is not full; the number of samples in it."""
        seconds = self._computing(self._manifest.macs.update)
        return protocol.parse_number(self._request(Command.FLUSH, seconds=seconds))

    def settle(self) -> Flag:
        """`flush`, and what the guard then did: it ends a stream with the best parameters."""
        seconds = self._computing(self._manifest.macs.update + self._manifest.macs_beside)
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
        seconds = self._computing(self._manifest.macs.forward)
        return protocol.parse_asked(self._exchanges.step(Command.ASK, b"", seconds))

    def learn(self, label: int | Array) -> StepReply:
        """Learns from the sample of the last `ask`, with the same bits as `train` would."""
        body = protocol.label_body(self._label(label))
        return self._labelled(Command.LEARN, body, label, self._learning())

    # Weights

    def read_parameter(self, index: int) -> Array:
        """A parameter as the board has it now, of the manifest's shape and dtype."""
        record = self._parameter(index)
        self._greeted()
        data = self._exchanges.read(
            record.bytes,
            Command.PARAMETER_READ,
            lambda offset, count: protocol.parameter_read_body(index, offset, count),
        )
        dtype = np.dtype(record.dtype)
        return np.frombuffer(data, dtype.newbyteorder("<")).reshape(record.shape).astype(dtype)

    def write_parameter(self, index: int, values: Array, *, finite: bool = True) -> None:
        """Replaces a parameter by values of its shape and dtype, if `finite` finite ones."""
        record = self._parameter(index)
        self._greeted()
        self._exchanges.write(
            values_of(f"parameter {record.name}", values, record.shape, record.dtype, finite),
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
            self._durations.samples = int(is_now)
        return is_now

    def save(self) -> int:
        """Saves weights and optimiser state in the board's flash; the state's generation."""
        return protocol.parse_number(self._request(Command.SAVE, seconds=STORE_SECONDS))

    def restore(self, *, again: bool = False) -> Saved:
        """Goes back to the last saved state.

        The network's own data in flash stays as it is now, unless the samples since that state come
        `again`: then the data counts as it did at the save. Raises RefusedError if flash no longer
        holds it.
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
        seconds = ANSWER_SECONDS + self._durations.erasing()
        self._request(Command.RESET, b"" if forget else b"\x01", seconds=seconds)

    # Requests

    def _greeted(self) -> Hello:
        return self._hello if self._hello is not None else self.hello()

    def _request(
        self, command: Command, body: bytes = b"", *, seconds: float = ANSWER_SECONDS
    ) -> bytes:
        """The body of the reply to a request that is carried out once; not to a step."""
        self._greeted()
        return self._exchanges.request(command, body, seconds)

    def _upload(self, data: bytes) -> None:
        self._greeted()
        self._exchanges.upload(data)

    def _computing(self, macs: int) -> float:
        return self._durations.computing(macs, self._greeted().clock_hz)

    def _learning(self) -> float:
        return self._durations.learning(self._greeted().clock_hz)

    def _step(
        self,
        command: Command,
        x: Array,
        label: int | Array,
        seconds: float,
        then: tuple[Array, int | Array] | None,
    ) -> StepReply:
        has_target = bool(self._manifest.target_bytes)
        body = protocol.label_body(-1 if has_target else self._label(label))
        self._upload(self._sample_bytes(x, label))
        ahead = None if then is None else self._sample_bytes(*then)
        return self._labelled(command, body, label, seconds, ahead)

    def _labelled(
        self,
        command: Command,
        body: bytes,
        label: int | Array,
        seconds: float,
        ahead: bytes | None = None,
    ) -> StepReply:
        try:
            if command is Command.LEARN:
                reply = self._request(command, body, seconds=seconds)
            else:
                reply = self._exchanges.step(command, body, seconds, ahead)
        except RefusedError as error:
            if error.status is Status.RANGE and self._manifest.plan.labels is not None:
                raise DataError(
                    f"label {label} is new, and all {error.detail} outputs of the network stand "
                    "for others; nothing has changed. Compile with a larger --max-classes"
                ) from error
            raise
        return protocol.parse_step(reply)

    def _label(self, label: int | Array) -> int:
        plan = self._manifest.plan
        classes = self._greeted().classes if plan.labels is None else ANY_LABEL
        return label_of(label, -1 if plan.may_be_unlabelled else 0, classes)

    def _sample_bytes(self, x: Array, target: int | Array | None) -> bytes:
        """A sample as it is sent, and behind it its target where the loss has one."""
        model = self._manifest.model
        values = checked("x", x, model.input_shape, "float32")
        if self._manifest.plan.loss == "reconstruction-cross-entropy":
            check_fractions(values.reshape(1, -1), "x")
        data = encoded(values, model)
        if self._manifest.target_bytes and target is not None:
            data += values_of("the target", np.asarray(target), model.output_shape)
        return data

    def _parameter(self, index: int) -> ParameterRecord:
        parameters = self._manifest.parameters
        if not 0 <= index < len(parameters):
            raise DataError(f"parameter {index} does not exist; the model has {len(parameters)}")
        return parameters[index]
