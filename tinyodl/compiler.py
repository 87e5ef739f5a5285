"""The pipeline from an ONNX file to a project: import, choose, differentiate, place, write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack

from pydantic import ValidationError

from tinyodl import __version__, firmware
from tinyodl.boards import Board, load_board
from tinyodl.bound import bounded
from tinyodl.built_here import remember_sources
from tinyodl.codegen import render_project, write_project
from tinyodl.codegen.network import Network, has_initial, parameters, render_network
from tinyodl.errors import DoesNotFitError, UserError
from tinyodl.frontend import Changes, Head, Prepared, Start, parse_head, prepare
from tinyodl.graph import Graph, Node, Phase, Storage
from tinyodl.keywords import check_keywords
from tinyodl.layers import layer_records, shared_records
from tinyodl.learners import Options, as_learner
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.adding import settings_of, with_features
from tinyodl.learning.beside.cache.feature import BOOKS, cache_of
from tinyodl.logits import ends_in_sigmoid
from tinyodl.losses import with_fitting_loss
from tinyodl.manifest import (
    FORMAT,
    ArenaRecord,
    CacheRecord,
    MacsRecord,
    Manifest,
    MemoryRecord,
    ModelRecord,
    NodeRecord,
    OriginRecord,
    ParameterRecord,
    QuantizationRecord,
    SettingRecord,
    TensorRecord,
    board_of,
)
from tinyodl.memory.arena import ArenaPlan, plan_arena
from tinyodl.memory.by_channels import by_channels
from tinyodl.memory.gradient_sums import sums_in_place
from tinyodl.memory.rows import by_rows
from tinyodl.ops import OPERATORS, layers_of
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.outliers import REACH, gate_bytes, gated
from tinyodl.project_files import locked_folder
from tinyodl.select import SCHEMES, choose, with_channels
from tinyodl.text import stored
from tinyodl.training import FRACTION, LOSS, differentiate, state_name
from tinyodl.update_plan import RECONSTRUCTIONS, UpdatePlan, load_plan, what_is_wrong


@dataclass(frozen=True)
class Compilation:
    """Everything `compile` worked out, before anything is written."""

    model: bytes  # the ONNX file that the project keeps
    graph: Graph  # the training graph
    arena: ArenaPlan
    network: Network
    manifest: Manifest
    board: Board


def compile_model(
    model: Path,
    board: str,
    out: Path,
    *,
    ram: int | None = None,
    flash: int | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """Compile an ONNX file into a PlatformIO project in `out`, and return its manifest.

    `ram` and `flash` are budgets in bytes, at most the board's. Raises ModelError, UserError,
    DoesNotFitError, or InUseError while another has `out`; then nothing is written.
    """
    with locked_folder(out):
        made = compilation(model, load_board(board), options)
        check_fit(made, ram, flash)
        files = render_project(made.manifest, made.network, board_of(made.manifest), made.model)
        write_project(files, out)
        remember_sources(out)
    return made.manifest


def plan_model(model: Path, board: str, **options: Unpack[Options]) -> Manifest:
    """What `compile_model` would put into the manifest; nothing is written.

    A model that does not fit is no error here: the caller compares the manifest with the board.
    """
    return compilation(model, load_board(board), options).manifest


def _plan(prepared: Prepared, options: Options) -> UpdatePlan:
    update = options.get("update", "last")
    if update not in SCHEMES:
        return load_plan(Path(update))
    layers = choose(prepared.graph, update)
    if update == "last" and prepared.head:
        layers |= dict.fromkeys(prepared.head, "weights")
        if prepared.standardized:
            layers[prepared.standardized] = "statistics"
    rule = {name: value for name, value in options.items() if name in UpdatePlan.model_fields}
    rule |= {"seen": prepared.seen}
    if rule.get("labels") == ():
        rule["labels"] = prepared.labels
    try:
        return UpdatePlan.model_validate({"layers": layers, **rule})
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][0]} = {first['input']}: " if first["loc"] else ""
        raise UserError(f"{where}{what_is_wrong(error)}") from error


def _changes(options: Options) -> Changes:
    samples = options.get("calibrate")
    return Changes(
        output=options.get("output"),
        cut=options.get("cut"),
        taps=tuple(options.get("tap", ())),
        head=_head(options),
        seed=options.get("seed", 0),
        start=_start(options),
        simplify=options.get("simplify", False),
        precision=options.get("precision", "float32"),
        calibrate=Path(samples) if samples else None,
        check=options.get("check", True),
    )


_FITTED_BY: Mapping[str, Literal["softmax", "sigmoid"]] = {
    "cross-entropy": "softmax",
    "binary-cross-entropy": "sigmoid",
}


def _head(options: Options) -> Head | None:
    if "head" not in options:
        return None
    online, grows = options.get("learner") == "online", options.get("grow", False)
    return replace(
        parse_head(options["head"]),
        zero=online or options.get("optimizer") == "rls",
        standardized=online and not grows,
        sigmoid=options.get("activation") == "sigmoid",
        grows=grows,
    )


def _start(options: Options) -> Start | None:
    samples, loss = options.get("start"), options.get("loss", "cross-entropy")
    if not samples:
        return None
    return Start(
        Path(samples),
        weight=options.get("start_weight", Start.weight),
        ridge=options.get("ridge"),
        by=_FITTED_BY.get(loss) if options.get("learner") == "online" else None,
        any_label="labels" in options,
        reconstruction=loss if loss in RECONSTRUCTIONS else None,
    )


def compilation(model: Path, board: Board, options: Options) -> Compilation:
    """Run the pipeline up to the text of the network and the manifest."""
    check_keywords("a compilation", options, Options.__annotations__)
    options = as_learner(options)
    prepared = prepare(model, _changes(options))
    plan = with_fitting_loss(_plan(prepared, options), prepared.graph)
    graph = prepared.under(plan)
    plan = with_channels(plan, graph)
    layers = _of_layers(plan, prepared.graph, graph)
    training = differentiate(graph, layers, prepared.correlation, prepared.errors, prepared.power)
    training = with_features(bounded(training, plan, LOSS), plan, prepared.shown)
    training = _in_parts(sums_in_place(training))
    shown = [options[name] for name in ("calibrate", "start") if name in options]
    training = gated(training, plan, shown)
    arena = plan_arena(training)
    source = stored(model.name)
    network = render_network(training, arena, plan, source=source, version=__version__)
    manifest = _manifest(source, prepared, graph, training, plan, arena, network, board)
    return Compilation(prepared.data, training, arena, network, manifest, board)


def _in_parts(training: Graph) -> Graph:
    """With large maps never whole: frozen ones by rows, gradients of wide ones by channels.

    First everything that helps the backward pass, to see what the forward pass needs in any case;
    then as little as gets along with that.
    """
    least = by_rows(by_channels(training))
    return by_rows(by_channels(training, within=plan_arena(least).nbytes))


def _of_layers(plan: UpdatePlan, every: Graph, graph: Graph) -> UpdatePlan:
    """The plan without the layers that others have absorbed."""
    absorbed = {n.name for n in layers_of(every)} - {n.name for n in layers_of(graph)}
    layers = {name: updates for name, updates in plan.layers.items() if name not in absorbed}
    return plan.model_copy(update={"layers": layers})


def check_fit(made: Compilation, ram: int | None, flash: int | None) -> None:
    """Raise DoesNotFitError, naming what is largest and what would help, unless it fits."""
    board, manifest = made.board, made.manifest
    ram_limit = min(board.ram.size, ram or board.ram.size)
    flash_limit = min(board.flash.size, flash or board.flash.size)
    if manifest.ram.total > ram_limit:
        held = [(block.nbytes, block.tensors[0]) for block in made.arena.blocks]
        held += [(parameter.bytes, parameter.name) for parameter in manifest.parameters]
        largest = ", ".join(f"{name} ({size:,} B)" for size, name in sorted(held)[:-5:-1])
        parts = ", ".join(f"{name} {size:,}" for name, size in manifest.ram.parts.items())
        raise DoesNotFitError(
            f"{manifest.model.source} needs {manifest.ram.total:,} B of RAM ({parts}), "
            f"{board.name} has {ram_limit:,} B; the largest tensors are {largest}; "
            f"{_ram_advice(manifest, ram_limit)}"
        )
    if manifest.flash.total > flash_limit:
        too_much = manifest.flash.total - flash_limit
        advice = "take a smaller model or a board with more flash"
        if manifest.cache and manifest.cache.flash:
            each = manifest.cache.flash // manifest.cache.slots
            advice = (
                _cache_advice(manifest.cache, manifest.cache.flash, board.whole(too_much), each)
                or advice
            )
        parts = ", ".join(f"{name} {size:,}" for name, size in manifest.flash.parts.items())
        raise DoesNotFitError(
            f"{manifest.model.source} needs about {manifest.flash.total:,} B of flash ({parts}), "
            f"{board.name} has {flash_limit:,} B for the program; {advice}"
        )


def _ram_advice(manifest: Manifest, limit: int) -> str:
    learning = [layer for layer in manifest.layers if layer.updates != "none"]
    if manifest.cache:
        books = next(p.bytes for p in manifest.parameters if p.name == BOOKS)
        each = (manifest.cache.ram - books) // manifest.cache.slots
        advice = _cache_advice(manifest.cache, manifest.cache.ram, manifest.ram.total - limit, each)
        if advice:
            return advice + ("" if manifest.cache.flash else ", or keep it in --cache-memory flash")
    if len(learning) > 1:
        return "let fewer layers learn (--update last), or take a board with more RAM"
    if manifest.plan.optimizer == "rls":
        return (
            "let the learner read fewer features (another --tap, fewer --hidden of elm), whose "
            "number counts squared, or take a board with more RAM"
        )
    if manifest.plan.optimizer != "sgd" or manifest.plan.batch > 1:
        return "use --optimizer sgd with --batch 1, or take a board with more RAM"
    return "take a smaller input or model, or a board with more RAM"


def _cache_advice(cache: CacheRecord, taken: int, too_much: int, each: int) -> str:
    """What would fit of a cache whose samples take so much each; "" where none does."""
    fitting = cache.slots - -(-too_much // each)
    if fitting <= 0:
        return ""
    return (
        f"the cache of {cache.slots:,} samples of {cache.features:,} features takes {taken:,} B, "
        f"and one of {fitting:,} would fit: give --cache {fitting}, or tap the network where it "
        "has fewer features"
    )


def _manifest(
    source: str,
    prepared: Prepared,
    graph: Graph,
    training: Graph,
    plan: UpdatePlan,
    arena: ArenaPlan,
    network: Network,
    board: Board,
) -> Manifest:
    cache = cache_of(training)
    macs = dict.fromkeys(Phase, 0)
    for node in training.nodes:
        macs[node.phase] += OPERATORS[node.op].macs(node, training)
    name_out = graph.outputs[0]
    inputs = {name: graph.shape(name) for name in graph.inputs}
    row = (1, sum(graph.tensor(name).size for name in inputs))
    return Manifest(
        format=FORMAT,
        tinyodl=__version__,
        model_id=network.model_id.hex(),
        protocol=firmware.PROTOCOL,
        board=board.name,
        model=ModelRecord(
            source=source,
            sha256=hashlib.sha256(prepared.data).hexdigest(),
            input_name=graph.inputs[0],
            input_shape=row if len(inputs) > 1 else graph.shape(graph.inputs[0]),
            inputs=inputs if len(inputs) > 1 else {},
            input_quantization=_input_quantization(graph),
            input_by_rows=arriving(training) is not None,
            output_name=name_out,
            output_shape=graph.shape(name_out),
            output_is_probability=ends_in_sigmoid(graph),
            macs=macs[Phase.FORWARD],
            calibration=prepared.calibration,
        ),
        plan=plan,
        layers=layer_records(graph, training, plan),
        shared=shared_records(graph, training),
        parameters=_parameters(training),
        settings=tuple(SettingRecord(**vars(setting)) for setting in settings_of(plan, training)),
        schedule=tuple(_node(node, training) for node in training.nodes),
        arena=_arena(training, arena),
        cache=CacheRecord(**vars(cache)) if cache else None,
        ram=_ram(training, arena, board, plan),
        flash=_flash(training, network, board, plan),
        macs=MacsRecord(
            forward=macs[Phase.FORWARD],
            backward=macs[Phase.BACKWARD],
            update=macs[Phase.UPDATE],
        ),
    )


def _input_quantization(graph: Graph) -> dict[str, QuantizationRecord]:
    """How the host quantises the inputs that are int8."""
    found = {}
    for name in graph.inputs:
        tensor = graph.tensor(name)
        if tensor.dtype == "int8":
            assert tensor.quantization is not None
            scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zero_point
            found[name] = QuantizationRecord(scale=scale, zero_point=zero_point)
    return found


def _node(node: Node, graph: Graph) -> NodeRecord:
    body = node.attrs.get("body", ())
    full = in_full(node, graph) if body else graph
    return NodeRecord(
        op=node.op,
        name=node.name,
        phase=node.phase,
        macs=OPERATORS[node.op].macs(node, graph),
        inputs=node.inputs,
        outputs=node.outputs,
        body=tuple(_node(inner, full) for inner in body),
    )


def _parameters(training: Graph) -> tuple[ParameterRecord, ...]:
    return tuple(
        ParameterRecord(
            index=index,
            name=tensor.name,
            shape=tensor.shape,
            dtype=tensor.dtype,
            bytes=tensor.nbytes,
            storage=tensor.storage,
            origin=OriginRecord(**vars(tensor.origin)) if tensor.origin else None,
        )
        for index, tensor in enumerate(parameters(training))
    )


def _arena(training: Graph, arena: ArenaPlan) -> ArenaRecord:
    first_phase: Mapping[str, Phase] = {
        name: training.producer[name].phase if name in training.producer else Phase.FORWARD
        for name in arena.lifetimes
    }
    return ArenaRecord(
        bytes=arena.nbytes,
        lower_bound=arena.lower_bound,
        tensors=tuple(
            TensorRecord(
                name=name,
                shape=training.shape(name),
                offset=arena.offsets[name],
                bytes=training.tensor(name).nbytes,
                first=first,
                last=last,
                phase=first_phase[name],
            )
            for name, (first, last) in sorted(arena.lifetimes.items(), key=lambda i: (i[1], i[0]))
        ),
    )


def _ram(training: Graph, arena: ArenaPlan, board: Board, plan: UpdatePlan) -> MemoryRecord:
    def held(storage: Storage) -> int:
        return sum(t.nbytes for t in training.tensors.values() if t.storage is storage)

    learned = [t.name for t in training.tensors.values() if t.storage is Storage.PARAMETER]
    masters = sum(
        training.tensor(name).nbytes
        for name in (state_name(parameter, FRACTION) for parameter in learned)
        if name in training.tensors
    )
    settings = len(settings_of(plan, training))
    beside = {"watching": 0, "cache": 0}
    for feature in wanted(plan):
        if feature.ram_part in beside:
            kept = [training.tensors[name] for name in feature.keeps if name in training.tensors]
            beside[feature.ram_part] += sum(tensor.nbytes for tensor in kept)
    gate = training.tensor(REACH).nbytes if REACH in training.tensors else 0
    parts = {
        "arena": arena.nbytes,
        "parameters": held(Storage.PARAMETER),
        "masters": masters,
        "optimizer": held(Storage.STATE) - masters - sum(beside.values()) - gate,
        **beside,
        "buffers": firmware.buffer_bytes(board.port),
        "stack": firmware.stack_bytes(board.port),
    }
    parts["watching"] += gate + gate_bytes(training) + (4 * settings + 4 if settings else 0)
    return MemoryRecord(parts=parts, total=sum(parts.values()))


def _flash(training: Graph, network: Network, board: Board, plan: UpdatePlan) -> MemoryRecord:
    weights = sum(
        t.nbytes for t in training.tensors.values() if t.storage is Storage.FLASH or has_initial(t)
    )
    kernels = sum(name.endswith(("_f32.h", "_i8.h")) for name in network.files)
    nodes = sum(len(node.attrs.get("body", (node,))) for node in training.nodes)
    code = firmware.code_bytes(board.port, kernels, nodes)
    parts = {"weights": weights, "code": code}
    for feature in wanted(plan):
        taken = feature.flash(training)
        if taken:
            parts[feature.name] = board.whole(taken)
    return MemoryRecord(parts=parts, total=sum(parts.values()))
