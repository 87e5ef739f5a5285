"""Training graph + arena plan -> `net.h`, `net.c`, `weights.c` and the kernels they include."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment

from tinyodl.codegen.environment import environment
from tinyodl.codegen.literals import float_literal
from tinyodl.codegen.names import Names
from tinyodl.codegen.steps import arrival_of, calls_at, sections_of, slots_of
from tinyodl.graph import Graph, Storage, Tensor, has_initial, parameters
from tinyodl.learning import candidates
from tinyodl.learning.beside import wanted
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.learners import rule_of
from tinyodl.learning.logits import ends_in_sigmoid
from tinyodl.learning.outliers import gate_context
from tinyodl.learning.state_names import LABELS, THRESHOLD
from tinyodl.learning.tensors import (
    FRACTION,
    LOSS,
    PENDING,
    STATES,
    SUM,
    TARGET,
    sample_inputs,
    state_name,
)
from tinyodl.memory.arena import ArenaPlan
from tinyodl.ops import Ref, kernels_of, single_calls
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.ops.shared.candidate import INPUTS
from tinyodl.planner.kernel_files import kernel_file, with_included
from tinyodl.project.plan import UpdatePlan

_LEARNERS = {"float32": "learner_f32", "int8": "learner_i8", "int16": "learner_i16"}


@dataclass(frozen=True)
class Network:
    """The generated network: its files by name, and the id that the firmware answers with."""

    files: dict[str, str]
    model_id: bytes  # 8 bytes


def render_network(
    graph: Graph, arena: ArenaPlan, plan: UpdatePlan, *, source: str, version: str
) -> Network:
    """Render `lib/net`. `source` is the name of the ONNX file, for the comments.

    Long, because each value of the templates has a line.
    """
    names = Names.of(graph)
    learners = _learners(graph, plan, names)
    kernels: set[str] = set().union(*(kernels_of(node) for node in graph.nodes))
    if learners:
        kernels.add("optimizer.h")
    sections = sections_of(graph, names, plan.summed)
    used = _used_tensors(graph)
    kept = parameters(graph)
    context: dict[str, Any] = {
        "source": source,
        "version": version,
        "plan": plan,
        "graph": graph,
        "arena": arena,
        "c": names.tensor,
        "kernels": sorted(kernels),
        "structs": names.structs,
        "frozen": [t for t in graph.tensors.values() if t.storage is Storage.FLASH],
        "initial": [t for t in kept if has_initial(t)],
        "cleared": [t for t in kept if not has_initial(t)],
        "recovers": calls_at("recover", graph, names),
        "returns": calls_at("go_back", graph, names),
        "kept": kept,
        "live": [graph.tensor(n) for n in sorted(used, key=lambda n: (arena.lifetimes[n], n))],
        "learners": learners,
        "sums": any(SUM in learner["fields"] for learner in learners),
        "fused": any(SUM not in learner["fields"] for learner in learners),
        "inputs": _inputs(graph),
        "arrival": arrival_of(graph, names),
        "target": graph.tensors.get(TARGET) if plan.loss == "mse" else None,
        "output": graph.tensor(graph.outputs[0]),
        "classes": plan.classes(graph.tensor(graph.outputs[0]).size),
        "above": _above(graph, plan),
        "loss": LOSS,
        "labels": LABELS if LABELS in graph.tensors else None,
        "threshold": THRESHOLD if THRESHOLD in graph.tensors else None,
        "skipped": 1 if plan.reconstructs else -1 if plan.unlabelled else -2,
        "follows": any(c["learning"] for c in sections["forward"] + sections["suffix"]),
        "pending": PENDING if PENDING in graph.tensors else None,
        **sections,
    }
    context |= learner_context(plan)
    context |= candidates.context_of(graph, plan)
    context["settings"] = settings_of(plan, graph)
    context["gate"] = gate_context(graph, arena, names.tensor)
    there = wanted(plan)
    context |= {feature.name: feature.context(graph, plan, names.tensor) for feature in there}
    context["slots"] = slots_of(there)
    context["in_flash"] = [
        {"region": feature.region, "bytes": feature.flash(graph), "one_way": feature.one_way}
        for feature in there
        if feature.region and feature.flash(graph)
    ]
    context["again"] = sections["recall"] or sections["retest"]
    kernels |= {"flash.h"} if context["in_flash"] else set()
    kernels |= {"flags.h"}
    context["kernels"] = sorted(kernels)
    jinja = environment()
    files = {
        name: jinja.get_template(f"net/{name}.j2").render(context)
        for name in ("net.c", "weights.c", "weights.h")
    }
    files |= {name: _kernel(name, jinja, context) for name in sorted(with_included(kernels))}
    digest = hashlib.sha256("".join(files[name] for name in sorted(files)).encode()).digest()
    context["model_id"] = digest[:8]
    files["net.h"] = jinja.get_template("net/net.h.j2").render(context)
    return Network(files, digest[:8])


def _kernel(name: str, jinja: Environment, context: dict[str, Any]) -> str:
    """The text of a kernel file."""
    path = kernel_file(name)
    if path.suffix == ".j2":
        return jinja.get_template(f"kernels/{path.name}").render(context)
    return path.read_text("utf-8")


def _above(graph: Graph, plan: UpdatePlan) -> float | None:
    """Where a single output tells two classes apart: 1 is predicted where it is above this."""
    if not plan.is_binary(graph.tensor(graph.outputs[0]).size):
        return None
    return 0.5 if ends_in_sigmoid(graph) else 0.0


def _inputs(graph: Graph) -> list[Tensor]:
    """The sample as it is sent, whether or not it is ever there as a whole."""
    node = arriving(graph)
    full = in_full(node, graph) if node else graph
    return [full.tensor(name) for name in sample_inputs(graph)]


def _used_tensors(graph: Graph) -> set[str]:
    """Arena tensors that a kernel call or a function of net.c names."""
    used = {graph.outputs[0], LOSS, *(name for name in (INPUTS,) if name in graph.tensors)}
    for node in graph.nodes:
        for call in single_calls(node, graph):
            used.update(a.tensor for a in call.arguments if isinstance(a, Ref) and a.tensor)
    return {name for name in used if graph.tensor(name).storage is Storage.ARENA}


def _learners(graph: Graph, plan: UpdatePlan, names: Names) -> list[dict[str, Any]]:
    """For each parameter that a gradient reaches: its learner's name and fields."""
    found: list[dict[str, Any]] = []
    if rule_of(plan).replaces:  # such a rule hands nothing on
        return found
    for tensor in graph.tensors.values():
        if tensor.storage is not Storage.PARAMETER:
            continue
        fields = {"value": names.tensor[tensor.name]}
        for state in (FRACTION, *STATES[plan.optimizer], SUM):
            held = state_name(tensor.name, state)
            if held in graph.tensors:
                fields[state] = names.tensor[held]
        name = f"{names.tensor[tensor.name]}_learner"
        found.append({"name": name, "type": _LEARNERS[tensor.dtype], "fields": fields})
    return found


def learner_context(plan: UpdatePlan) -> dict[str, Any]:
    """The optimiser's constants as float32 literals."""
    return {
        "constants": {
            "momentum": float_literal(plan.momentum),
            "weight_decay": float_literal(plan.weight_decay),
            "beta1": float_literal(plan.beta1),
            "beta2": float_literal(plan.beta2),
            "one_minus_beta1": float_literal(np.float32(1.0 - plan.beta1)),
            "one_minus_beta2": float_literal(np.float32(1.0 - plan.beta2)),
            "epsilon": float_literal(plan.epsilon),
        },
    }
