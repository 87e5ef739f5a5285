"""`tinyodl.json`: everything that the commands after `compile` need to know about a project.

`flash`, `stream-train`, `evaluate`, `report` and `export` read this file and nothing that could
disagree with it. The models are pydantic: a manifest that was edited by hand is checked on load.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tinyodl.errors import UserError
from tinyodl.files.project_files import finish_compile
from tinyodl.graph import Phase, Storage
from tinyodl.project.choice_record import ChoiceRecord
from tinyodl.project.layer_update import Updates
from tinyodl.project.plan import UpdatePlan
from tinyodl.targets.boards import Board, load_board, parse_board

FILE_NAME = "tinyodl.json"
MODEL_NAME = "model.onnx"
FORMAT = 1
ANY_LABEL = 1 << 31  # labels are int32, not negative


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuantizationRecord(_Record):
    """The real value of an integer q: real = scale * (q - zero_point). One scale for a tensor."""

    dtype: Literal["int8"] = "int8"
    scale: float
    zero_point: int


class CalibrationRecord(_Record):
    """How --precision int8 quantised a float32 model, and how much accuracy its output lost."""

    samples: str  # name of the file
    count: int
    error: float  # mean of |int8 - float32| over the samples, as a share of the mean |float32|
    steps: float | None  # the same in steps of the output's scale; None where it has none
    agreement: float | None  # share whose largest output stayed the same; None with a fresh head
    real_operators: tuple[str, ...]  # ONNX operators that stayed in float32


class ModelRecord(_Record):
    """The ONNX file the project was made from; a copy of it is `model.onnx` in the project."""

    source: str  # file name only, never a path of the machine that compiled
    sha256: str
    input_name: str  # of the first
    input_shape: tuple[int, ...]  # with the batch dimension of 1; several inputs count as one row
    inputs: dict[str, tuple[int, ...]] = {}  # where there are several: side by side, in this order
    input_quantization: dict[str, QuantizationRecord] = {}  # of int8 inputs; others are float32
    input_by_rows: bool = False  # (1, C, H, W) is sent as (H, C, W): worked on as it arrives
    output_name: str
    output_shape: tuple[int, ...]
    output_is_probability: bool = False  # of a label by itself, from a Sigmoid
    macs: int
    calibration: CalibrationRecord | None = None
    notes: tuple[str, ...] = ()  # what was changed in the file before the import, a clause each


class OriginRecord(_Record):
    """Where a parameter lives in the ONNX file; see `tinyodl.graph.Origin`."""

    node: str
    slot: int
    initializer: str | None
    transform: str
    scale: float
    folded: tuple[str, ...]
    tied: tuple[tuple[str, int], ...] = ()
    quantized: str | None = None


class ParameterRecord(_Record):
    """A tensor that learns, or optimiser state; `index` is its number in the protocol."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    storage: Storage  # PARAMETER or STATE
    origin: OriginRecord | None  # None for optimiser state


class SettingRecord(_Record):
    """A number that the host may set while the board runs; its place is its number."""

    name: str
    default: float
    least: float
    most: float


class TensorRecord(_Record):
    """A tensor in the arena: `bytes` at `offset`, alive from step `first` to step `last`.

    Steps count the schedule from 0; -1 is the upload of the sample before the step.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    bytes: int
    first: int
    last: int
    phase: Phase  # of the node that makes it


class NodeRecord(_Record):
    """One scheduled node; `body` has the nodes it runs in turns, by rows or by channels."""

    op: str
    name: str
    phase: Phase
    macs: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: tuple[NodeRecord, ...] = ()


class ChannelsRecord(_Record):
    """The channels of a layer with learning weights: some `of` all on that side."""

    side: Literal["inputs", "outputs"]
    chosen: tuple[int, ...]
    of: int


Part = Literal["weights", "bias"]


class LayerRecord(_Record):
    """A layer with parameters, as the plan table shows it."""

    name: str  # the ONNX node's name
    op: str
    output_shape: tuple[int, ...]
    parameters: int  # number of weights and biases
    macs: int  # forward
    updates: Updates  # "weights" includes the bias
    channels: ChannelsRecord | None = None  # if only some channels' weights learn
    parts: tuple[Part, ...] = ("weights", "bias")  # the parts it has
    also: tuple[Part, ...] = ()  # parts learned through another layer that shares them


class OpenLayerRecord(_Record):
    """A layer of which a run chooses the learning output channels: `tinyodl.learning.candidates`.

    `shape` is its weight's. The gradient of the weights reads `input` values: of all its input, or,
    `alone`, of each learning channel.
    """

    name: str
    shape: tuple[int, ...]
    input: int
    alone: bool
    origin: OriginRecord  # of the weight

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.shape[0]

    @property
    def weights(self) -> int:
        """Weights of one channel."""
        return prod(self.shape[1:])

    def inputs_kept(self, channels: int) -> int:
        """Values of its input that a step keeps where so many channels learn."""
        if channels == 0:
            return 0
        return self.input * channels if self.alone else self.input


class SharedRecord(_Record):
    """One tensor of the file read by several nodes; it learns from all of them."""

    uses: tuple[str, ...]  # such as "fc1.weight"
    initializer: str | None  # its name in the ONNX file


class MemoryRecord(_Record):
    """Bytes by part; `total` is their sum."""

    parts: dict[str, int]
    total: int


class ArenaRecord(_Record):
    """The static arena: its size, the peak of live bytes (no plan can need less), its tensors."""

    bytes: int
    lower_bound: int
    tensors: tuple[TensorRecord, ...]


class MacsRecord(_Record):
    forward: int
    backward: int
    update: int


class EstimateRecord(_Record):
    """Modelled cycles of a step by phase, estimated from the layers' shapes; or `none` says why."""

    forward: int = 0
    backward: int = 0
    update: int = 0
    none: str = ""

    @property
    def step(self) -> int:
        return self.forward + self.backward + self.update


class Manifest(_Record):
    """The whole file."""

    format: int
    tinyodl: str  # version that compiled it
    model_id: str  # 16 hex digits, also in the firmware; another network has another one
    protocol: int
    board: str
    board_file: str = ""  # the text of its TOML, where it is none of tinyodl's
    model: ModelRecord
    plan: UpdatePlan
    layers: tuple[LayerRecord, ...]
    shared: tuple[SharedRecord, ...] = ()
    candidates: tuple[OpenLayerRecord, ...] = ()  # in the order of their numbers
    parameters: tuple[ParameterRecord, ...]
    settings: tuple[SettingRecord, ...] = ()
    schedule: tuple[NodeRecord, ...]
    arena: ArenaRecord
    beside: dict[str, dict[str, int]] = {}  # of each feature, the facts that it gives
    ram: MemoryRecord
    flash: MemoryRecord
    macs: MacsRecord
    choice: ChoiceRecord | None = None  # of --update auto
    estimate: EstimateRecord | None = None  # None: compiled by an older tinyodl

    @property
    def classes(self) -> int | None:
        """Labels are below it: as many as there are outputs, or any; None for loss mse.

        Two where there is one output; for losses of reconstruction 0 is normal and 1 an anomaly.
        """
        if self.plan.labels is not None:
            return ANY_LABEL
        return self.plan.classes(prod(self.model.output_shape))

    @property
    def program_flash(self) -> int:
        """Bytes of flash for code and constants, without what the network keeps there."""
        return sum(self.flash.parts[part] for part in ("weights", "code"))

    @property
    def cached_samples(self) -> int:
        """Samples that the cache holds at most; 0 where there is none."""
        return self.beside.get("cache", {}).get("slots", 0)

    @property
    def replay_macs(self) -> int:
        """MACs for one sample of the cache: its layers, forward and backward, without updates."""
        return self.beside.get("cache", {}).get("macs", 0)

    @property
    def macs_beside(self) -> int:
        """The most that features add to a step."""
        return sum(facts.get("step_macs", 0) for facts in self.beside.values())

    @property
    def target_bytes(self) -> int:
        """Bytes of a target vector for loss mse; 0 when the target is a class label."""
        if self.plan.loss != "mse":
            return 0
        size = 4
        for dimension in self.model.output_shape:
            size *= dimension
        return size


def described_board(manifest: Manifest) -> Board:
    """The project's board, with all of its flash; the user's own as it was when it was compiled.

    Raises UserError where this tinyodl does not know it, or finds a mistake in it.
    """
    if not manifest.board_file:
        return load_board(manifest.board)
    source = f"{FILE_NAME}: board {manifest.board}"
    return parse_board(manifest.board_file, manifest.board, source).model_copy(
        update={"own": manifest.board_file}
    )


def board_of(manifest: Manifest) -> Board:
    """The project's board, without the flash that its network keeps something in."""
    parts = manifest.flash.parts
    return described_board(manifest).keeping(parts.get("cache", 0), parts.get("guard", 0))


def load(project: Path) -> Manifest:
    """The manifest of a project directory; UserError when it is missing or not valid.

    A `compile` of the project that was cut off is finished first. Raises InUseError while one is
    under way.
    """
    finish_compile(project)
    path = project / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"{project} is not a tinyodl project ({FILE_NAME}: {reason}); "
            "make one with `tinyodl compile MODEL.onnx --board NAME -o DIR`"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path}: {where}: {first['msg']}; compile the project again with this tinyodl"
        ) from error
    if manifest.format != FORMAT:
        raise UserError(
            f"{path}: format {manifest.format}, this tinyodl reads {FORMAT}; compile it again"
        )
    return manifest


def dump(manifest: Manifest) -> str:
    """The text of `tinyodl.json`, the same for the same manifest."""
    return manifest.model_dump_json(indent=1) + "\n"
