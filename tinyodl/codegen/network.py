"""Training graph + arena plan -> `net.h`, `net.c`, `weights.c` and the kernels they include."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jinja2 import Environment

from tinyodl.codegen.environment import environment
from tinyodl.codegen.literals import NODE, dimensions, float_literal, grouped, identifiers
from tinyodl.graph import Graph, Node, Phase, Storage, Tensor, has_initial, parameters
from tinyodl.kept import LABELS, THRESHOLD
from tinyodl.kernel_files import kernel_file, with_included
from tinyodl.learning.beside import FOLDER, wanted
from tinyodl.learning.beside.adding import settings_of
from tinyodl.learning.beside.record import Feature
from tinyodl.learning.learners import rule_of
from tinyodl.logits import ends_in_sigmoid
from tinyodl.memory.arena import ArenaPlan
from tinyodl.ops import (
    OPERATORS,
    Argument,
    Call,
    Element,
    Learner,
    Loop,
    Ref,
    Struct,
    Symbol,
    calls_of,
    kernels_of,
    single_calls,
)
from tinyodl.ops.rows import arriving
from tinyodl.ops.shared.body import in_full
from tinyodl.outliers import gate_context
from tinyodl.project.plan import UpdatePlan
from tinyodl.text import comment
from tinyodl.training import (
    FRACTION,
    LOSS,
    PENDING,
    STATES,
    SUM,
    TARGET,
    UPDATES,
    sample_inputs,
    state_name,
)

_LEARNERS = {"float32": "learner_f32", "int8": "learner_i8", "int16": "learner_i16"}


@dataclass(frozen=True)
class Network:
    """The generated network: its files by name, and the id that the firmware answers with."""

    files: dict[str, str]
    model_id: bytes  # 8 bytes


def render_network(
    graph: Graph, arena: ArenaPlan, plan: UpdatePlan, *, source: str, version: str
) -> Network:
    """Render `lib/net`. `source` is the name of the ONNX file, for the comments."""
    names = _Names.of(graph)
    learners = _learners(graph, plan, names)
    kernels: set[str] = set().union(*(kernels_of(node) for node in graph.nodes))
    if learners:
        kernels.add("optimizer.h")
    sections = _sections(graph, names, plan.summed)
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
        "recovers": _calls_at("recover", graph, names),
        "returns": _calls_at("go_back", graph, names),
        "kept": kept,
        "live": [graph.tensor(n) for n in sorted(used, key=lambda n: (arena.lifetimes[n], n))],
        "learners": learners,
        "sums": any(SUM in learner["fields"] for learner in learners),
        "fused": any(SUM not in learner["fields"] for learner in learners),
        "inputs": _inputs(graph),
        "arrival": _arrival(graph, names),
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
    context["settings"] = settings_of(plan, graph)
    context["gate"] = gate_context(graph, arena, names.tensor)
    there = wanted(plan)
    context |= {feature.name: feature.context(graph, plan, names.tensor) for feature in there}
    context["slots"] = _slots(there)
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


@dataclass
class _Names:
    """The C names of tensors, of the constant structs that kernel calls share, and of functions."""

    tensor: dict[str, str]
    structs: dict[Struct, str]
    nodes: dict[str, str]

    @classmethod
    def of(cls, graph: Graph) -> _Names:
        inner = (each.name for node in graph.nodes for each in node.attrs.get("body", ()))
        return cls(identifiers(graph.tensors), {}, identifiers(inner, NODE))

    def part(self, node: Node) -> str:
        """The function that does a node's part of a turn, where the node is in the body of one."""
        return f"{self.nodes[node.name]}_part"

    def argument(self, argument: Argument, node: Node) -> str:
        """An argument as C text; a struct seen for the first time is named after its node."""
        match argument:
            case Ref(""):
                return "NULL"
            case Ref(name):
                return self.tensor[name]
            case Learner(parameter):
                return f"&{self.tensor[parameter]}_learner"
            case Symbol(name):
                return name
            case Element(name, index):
                return f"{self.tensor[name]}[{index}]"
            case Struct():
                if argument not in self.structs:
                    layer = node.name.split(".")[0]
                    stem = identifiers([layer], NODE)[layer]
                    name, count = f"{stem}_shape", 2
                    while name in self.structs.values():
                        name, count = f"{stem}_{count}_shape", count + 1
                    self.structs[argument] = name
                return f"&{self.structs[argument]}"
            case float():
                return float_literal(argument)
            case int():
                return str(argument)


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


def _arrival(graph: Graph, names: _Names) -> dict[str, Any] | None:
    """What happens to the sample's rows as they arrive; None where the sample is kept."""
    node = arriving(graph)
    if node is None:
        return None
    [loop] = calls_of(node, graph)
    assert isinstance(loop, Loop)
    sample = graph.tensor(node.attrs["sample"])
    _, channels, held, width = sample.shape
    return {
        "comment": _comment(0, node, graph),
        "step": "0",
        "parts": _parts(loop, names, 0),
        "turns": loop.count,
        "needed": names.tensor[node.attrs["needed"]],
        "sample": names.tensor[sample.name],
        "channels": channels,
        "held": held,
        "line_bytes": width * sample.itemsize,
    }


# Places of net.c.j2, net.h.j2 and the templates in them that features may fill.
SLOTS = (
    *("state", "reset", "recall", "decide", "tests", "learn_again", "noted", "learn_from", "ask"),
    *("replay", "replayed", "header_memory", "header"),
)


def _slots(features: Iterable[Feature]) -> dict[str, list[str]]:
    """The templates that fill each slot."""
    found: dict[str, list[str]] = {slot: [] for slot in SLOTS}
    for feature in features:
        for slot in SLOTS:
            template = f"{feature.name}/c/{slot}.j2"
            if (FOLDER / template).exists():
                found[slot].append(template)
    return found


def _sections(graph: Graph, names: _Names, summed: bool) -> dict[str, list[dict[str, Any]]]:
    """The calls of forward, loss, backward and of the update at the end of a batch."""
    found: dict[str, list[dict[str, Any]]] = {
        "forward": [],
        "remember": [],
        "recall": [],
        "retest": [],
        "suffix": [],
        "look": [],
        "decide": [],
        "loss_calls": [],
        "count": [],
        "note": [],
        "backward": [],
        "apply": [],
    }
    before_loss = True
    ahead = "forward"  # where features are kept: the layers before them, then those behind
    previous = Phase.BACKWARD
    arrives = arriving(graph)
    for step, node in enumerate(graph.nodes):
        calls = calls_of(node, graph) if node is not arrives else ()
        if node.outputs == (LOSS,):
            before_loss = False
        if not calls:
            continue
        part = OPERATORS[node.op].part
        at_end = node.op in UPDATES.values() or (summed and node.op == "AdamTick")
        if node.outputs == (LOSS,):
            section = "loss_calls"
        elif part:
            section = part
            ahead = "suffix" if section in ("recall", "retest") else ahead
        elif before_loss:
            section = ahead
        else:
            section = "apply" if at_end else "backward"
        mark = section == "backward" and node.phase is not previous
        if section == "backward":
            previous = node.phase
        found[section].append(
            {
                "comment": _comment(step, node, graph),
                "step": str(step),
                "parts": [part for call in calls for part in _parts(call, names, step)],
                "texts": [line for call in calls for line in _lines(call, names, node, step)],
                "mark": f"NET_{node.phase.name}" if mark else "",
                "learning": section == ahead and before_loss and node.phase is Phase.UPDATE,
            }
        )
    return found


def _lines(call: Call | Loop, names: _Names, node: Node, step: int) -> list[str]:
    if isinstance(call, Call):
        return [_text(call, node, names)]
    i = call.index
    lines = [f"for (int32_t {i} = 0; {i} < {call.count}; {i}++) {{"]
    for part in _parts(call, names, step):
        lines += [f"    NODE({part['step']});", f"    {part['name']}({i});"]
    return [*lines, f"    NODE({step});", "}"]


def _parts(call: Call | Loop, names: _Names, step: int) -> list[dict[str, str]]:
    """The functions that a loop calls in turn, one for each node.

    Inlined side by side into the loop, their kernels would compete for registers.
    """
    if isinstance(call, Call):
        return []
    return [
        {
            "comment": f"{node.op} {comment(node.name.removesuffix(f'.{node.op}'))}",
            "step": f"{step}_{place}",
            "name": names.part(node),
            "index": call.index,
            "text": _text(inner, node, names),
        }
        for place, (inner, node) in enumerate(zip(call.calls, call.nodes, strict=True))
    ]


def _text(call: Call, node: Node, names: _Names) -> str:
    arguments = ", ".join(names.argument(a, node) for a in call.arguments)
    return f"{call.function}({arguments});"


def _comment(step: int, node: Node, graph: Graph) -> str:
    shapes = [dimensions(graph.shape(name)) for name in node.outputs if name]
    macs = OPERATORS[node.op].macs(node, graph)
    cost = f", {grouped(macs)} MACs" if macs else ""
    made = f" -> {', '.join(shapes)}" if shapes else ""
    reads = " ".join(dimensions(graph.shape(name)) for name in node.inputs[:2] if name)
    layer = comment(node.name.removesuffix(f".{node.op}"))
    return f"{step}: {node.op} {layer}: {reads}{made}{cost}"


def _calls_at(time: Literal["recover", "go_back"], graph: Graph, names: _Names) -> list[str]:
    """The calls that find again what is in flash."""
    rules = [(getattr(OPERATORS[node.op], time), node) for node in graph.nodes]
    calls = [(rule(node, graph), node) for rule, node in rules if rule]
    return [_text(call, node, names) for call, node in calls if call]


def _used_tensors(graph: Graph) -> set[str]:
    """Arena tensors that a kernel call or a function of net.c names."""
    used = {graph.outputs[0], LOSS}
    for node in graph.nodes:
        for call in single_calls(node, graph):
            used.update(a.tensor for a in call.arguments if isinstance(a, Ref) and a.tensor)
    return {name for name in used if graph.tensor(name).storage is Storage.ARENA}


def _learners(graph: Graph, plan: UpdatePlan, names: _Names) -> list[dict[str, Any]]:
    """For each parameter that a gradient reaches: its learner's name and fields."""
    found: list[dict[str, Any]] = []
    if rule_of(plan).replaces:  # which hands nothing on
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
