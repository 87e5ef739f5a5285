"""`Feature`: what a board computes beside learning, as one record; its folder has all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tinyodl.project.manifest import Manifest
    from tinyodl.runs.log import Run

from tinyodl.graph import Array, Graph, Node, Phase, Tensor
from tinyodl.project.plan import UpdatePlan

MemoryKind = Literal["RAM", "flash"]


@dataclass(frozen=True)
class Setting:
    """A number that the host may change while the board runs."""

    name: str
    default: float
    least: float
    most: float


@dataclass(frozen=True)
class Region:
    """A feature's region of flash beside the program.

    `name` is the region in flash.h, `size_macro` the macro of its size in net.h, `holds` a
    description of its content.
    """

    name: str
    size_macro: str
    holds: str


@dataclass(frozen=True)
class Seen:
    """Samples that the last layer has learned from before it goes to the board, in their order."""

    features: Array  # (N, F)
    labels: Array  # (N,)


@dataclass
class Step:
    """A training graph taken apart at its loss, to which features add nodes.

    A step that may learn is

        ahead | look | (the host asks: decide)
        | loss | note | remember | counts | backward and update

    `look` runs once for each sample, `note` once a label came, before anything is learned from it.
    """

    graph: Graph
    plan: UpdatePlan
    seen: Seen | None
    loss: Node
    ahead: tuple[Node, ...]
    behind: tuple[Node, ...]
    look: list[Node] = field(default_factory=list)
    note: list[Node] = field(default_factory=list)
    remember: list[Node] = field(default_factory=list)
    counts: list[Node] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """The values of the network's output."""
        return self.graph.tensor(self.graph.outputs[0]).size

    def add_tensors(self, *tensors: Tensor, before_state: bool = False) -> None:
        """Tensors that the nodes of a feature read, make or keep.

        `before_state` puts them ahead of what the optimiser keeps, in the order of the protocol.
        """
        self.graph = self.graph.with_tensors(tensors)
        if before_state:
            [loss] = self.loss.outputs
            made = {tensor.name: tensor for tensor in tensors}
            found: dict[str, Tensor] = {}
            for name, tensor in self.graph.tensors.items():
                if name not in made:
                    found[name] = tensor
                if name == loss:
                    found |= made
            self.graph = replace(self.graph, tensors=found)

    def result(self) -> Graph:
        """The training graph with what was added."""
        later = (*self.look, self.loss, *self.note, *self.remember, *self.counts, *self.behind)
        return replace(self.graph, nodes=(*self.ahead, *later))


def node(
    op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], phase: Phase, **attrs: object
) -> Node:
    """A node of a feature, which is there once and is named after its operator."""
    return Node(op, op, inputs, outputs, attrs, phase)


@dataclass(frozen=True)
class Words:
    """A feature's words for people; `words.py` of its folder has them as WORDS.

    clause     `plan`'s words on a plan with it, after "The board"; "" if `line` says it.
    line       `plan`'s words on a project with it: a sentence and a line break, or "".
    sentences  the report's sentences on a run; none if the feature did nothing.
    """

    clause: Callable[[UpdatePlan], str] = lambda plan: ""
    line: Callable[[Manifest], str] = lambda manifest: ""
    sentences: Callable[[Run], list[str]] = lambda run: []


def _no_settings(plan: UpdatePlan) -> tuple[Setting, ...]:
    return ()


def _no_context(graph: Graph, plan: UpdatePlan, c: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _no_facts(graph: Graph) -> dict[str, int]:
    return {}


def _no_advice(facts: Mapping[str, int], memory: MemoryKind, too_much: int) -> str:
    return ""


def _no_bytes(graph: Graph) -> int:
    return 0


@dataclass(frozen=True)
class Feature:
    """A computation beside learning. Its folder and its section of a plan have its name.

    add        adds its nodes and tensors to a step. Raises UserError if they do not fit.
    needs_learning  whether there must be layers that learn.
    after      features whose nodes come before its own, if both are on.
    settings   its settings for a plan, in the order of the protocol.
    keeps      the state tensors that survive a step, unchanged by a return to other parameters.
    ram_part   the row of the RAM table for these tensors.
    flash      bytes of flash beside the program, in `region`.
    one_way    a comment for a feature in flash: why going back in time does not concern it.
    context    the variables of its templates, under its name: from the training graph, the plan,
               and the tensors' C names. Every template `c/SLOT.j2` of the folder fills a slot of
               net.c or net.h; kernels lie beside them.
    facts      numbers of a training graph for the manifest, under the feature's name. `step_macs`
               is the most multiply-accumulates it adds to a step.
    advice     a smaller form of it that would fit, if so many bytes of RAM or flash are too much,
               from these facts; "" if none would.
    """

    name: str
    add: Callable[[Step], None]
    needs_learning: bool = True
    after: tuple[str, ...] = ()
    settings: Callable[[UpdatePlan], tuple[Setting, ...]] = _no_settings
    keeps: frozenset[str] = frozenset()
    ram_part: str = "watching"
    flash: Callable[[Graph], int] = _no_bytes
    region: Region | None = None
    one_way: str = ""
    context: Callable[[Graph, UpdatePlan, Mapping[str, str]], dict[str, Any]] = _no_context
    facts: Callable[[Graph], dict[str, int]] = _no_facts
    advice: Callable[[Mapping[str, int], MemoryKind, int], str] = _no_advice
