"""Makes the manifest of a project from the results of a compilation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tinyodl import __version__
from tinyodl.codegen.network import Network
from tinyodl.frontend import Prepared
from tinyodl.graph import Graph, Node, Phase, parameters
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.logits import ends_in_sigmoid
from tinyodl.memory.arena import ArenaPlan
from tinyodl.ops import OPERATORS
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.planner.lowering import Lowered
from tinyodl.project.choice_record import CandidateRecord, ChoiceRecord
from tinyodl.project.layers import (
    candidate_records,
    layer_records,
    learning,
    shared_records,
)
from tinyodl.project.manifest import (
    FORMAT,
    ArenaRecord,
    EstimateRecord,
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
)
from tinyodl.targets import firmware
from tinyodl.text import stored

if TYPE_CHECKING:
    from tinyodl.select.auto import Chosen


def manifest_of(source: str, prepared: Prepared, lowered: Lowered, network: Network) -> Manifest:
    """The manifest of a project made from the ONNX file named `source`."""
    graph, training, plan = lowered.graph, lowered.training, lowered.plan
    return Manifest(
        format=FORMAT,
        tinyodl=__version__,
        model_id=network.model_id.hex(),
        protocol=firmware.PROTOCOL,
        board=lowered.board.name,
        board_file=lowered.board.own,
        model=_model(source, prepared, lowered),
        plan=plan,
        layers=layer_records(graph, training, plan),
        shared=shared_records(graph, training),
        candidates=candidate_records(training),
        parameters=_parameters(training),
        settings=tuple(SettingRecord(**vars(setting)) for setting in settings_of(plan, training)),
        schedule=tuple(_node(node, training) for node in training.nodes),
        arena=_arena(training, lowered.arena),
        beside={
            feature.name: facts for feature in wanted(plan) if (facts := feature.facts(training))
        },
        ram=MemoryRecord(parts=dict(lowered.ram), total=lowered.ram_bytes),
        flash=MemoryRecord(parts=dict(lowered.flash), total=lowered.flash_bytes),
        macs=MacsRecord(
            forward=lowered.macs[Phase.FORWARD],
            backward=lowered.macs[Phase.BACKWARD],
            update=lowered.macs[Phase.UPDATE],
        ),
        estimate=_estimate(lowered),
    )


def _estimate(lowered: Lowered) -> EstimateRecord:
    if lowered.cycles is None:
        return EstimateRecord(none=lowered.no_cycles)
    phases = lowered.cycles.phases
    return EstimateRecord(
        forward=phases[Phase.FORWARD],
        backward=phases[Phase.BACKWARD],
        update=phases[Phase.UPDATE],
    )


def choice_record(chosen: Chosen) -> ChoiceRecord:
    """What `tinyodl.select.auto` looked at, and why it took what it took."""
    return ChoiceRecord(
        candidates=tuple(
            CandidateRecord(
                name=tried.name,
                learns=learning(tried.plan),
                ram=tried.cost.ram,
                flash=tried.flash,
                macs=tried.cost.macs,
                milliseconds=tried.cost.time,
                millijoules=tried.cost.energy,
                value=tried.value,
                accuracy=tried.outcome.accuracy if tried.outcome else None,
                error=tried.outcome.error if tried.outcome else None,
                verdict=tried.verdict,
            )
            for tried in chosen.tried
        ),
        sentences=chosen.sentences,
    )


def _model(source: str, prepared: Prepared, lowered: Lowered) -> ModelRecord:
    graph = lowered.graph
    name_out = graph.outputs[0]
    inputs = {name: graph.shape(name) for name in graph.inputs}
    row = (1, sum(graph.tensor(name).size for name in inputs))
    return ModelRecord(
        source=source,
        sha256=hashlib.sha256(prepared.data).hexdigest(),
        input_name=graph.inputs[0],
        input_shape=row if len(inputs) > 1 else graph.shape(graph.inputs[0]),
        inputs=inputs if len(inputs) > 1 else {},
        input_quantization=_input_quantization(graph),
        input_by_rows=arriving(lowered.training) is not None,
        output_name=name_out,
        output_shape=graph.shape(name_out),
        output_is_probability=ends_in_sigmoid(graph),
        macs=lowered.macs[Phase.FORWARD],
        calibration=prepared.calibration,
        notes=tuple(map(stored, prepared.notes)),
    )


def _input_quantization(graph: Graph) -> dict[str, QuantizationRecord]:
    """How the host quantises int8 inputs."""
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
