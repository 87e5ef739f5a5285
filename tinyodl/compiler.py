"""The pipeline from an ONNX file to a project: import, choose, plan, render, write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from tinyodl import __version__
from tinyodl.codegen import render_project, write_project
from tinyodl.codegen.network import Network, render_network
from tinyodl.errors import UserError
from tinyodl.files.built_here import remember_sources
from tinyodl.files.project_files import locked_folder
from tinyodl.frontend import Changes, Head, Prepared, Start, parse_head, prepare
from tinyodl.frontend.opening.given_shapes import shapes_of
from tinyodl.learning.learners import learner_named, rule_named
from tinyodl.learning.learners.choice import as_learner
from tinyodl.planner.fitting import check_fit
from tinyodl.planner.lowering import Lowered, lower
from tinyodl.project.keyword_types import Options
from tinyodl.project.keywords import check_keywords
from tinyodl.project.manifest import Manifest, board_of
from tinyodl.project.manifest_records import manifest_of
from tinyodl.project.options import KEYWORDS
from tinyodl.project.plan import RECONSTRUCTIONS, UpdatePlan
from tinyodl.project.plan_file import load_plan, plan_of
from tinyodl.select import SCHEMES, choose
from tinyodl.select.candidates import check_candidates, with_candidates, with_room
from tinyodl.targets.boards import Board, find_board
from tinyodl.text import stored


@dataclass(frozen=True)
class Compilation:
    """Everything `compile` worked out, before anything is written."""

    model: bytes  # the ONNX file that the project keeps
    lowered: Lowered
    network: Network
    manifest: Manifest


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
        made = compilation(model, find_board(board, model), options, ram)
        check_fit(made.lowered, made.manifest, ram, flash)
        files = render_project(made.manifest, made.network, board_of(made.manifest), made.model)
        write_project(files, out)
        remember_sources(out)
    return made.manifest


def plan_model(
    model: Path, board: str, *, ram: int | None = None, **options: Unpack[Options]
) -> Manifest:
    """The manifest that `compile_model` would write; nothing is written.

    A model that does not fit is no error here: the caller compares the manifest with the board.
    `ram` is a budget in bytes for what is chosen while the board runs.
    """
    return compilation(model, find_board(board, model), options, ram).manifest


def _plan(prepared: Prepared, options: Options, board: Board, ram: int | None) -> UpdatePlan:
    update = options.get("update", "last")
    if update != "device" and "candidates" in options:
        raise UserError("--candidates is for --update device; give both")
    if update not in (*SCHEMES, "device"):
        plan = load_plan(Path(update))
        check_candidates(plan, prepared.graph)
        return plan
    plan = _of_scheme(prepared, options, "last" if update == "device" else update)
    if update == "device":
        plan = with_candidates(plan, prepared.graph, options.get("candidates"))
        plan = with_room(prepared, plan, board, ram)
    return plan


def _of_scheme(prepared: Prepared, options: Options, update: str) -> UpdatePlan:
    layers = choose(prepared.graph, update)
    if update == "last" and prepared.head:
        layers |= dict.fromkeys(prepared.head, "weights")
        if prepared.standardized:
            layers[prepared.standardized] = "statistics"
    given = {**options, "seen": prepared.seen}
    if given.get("labels") == ():
        given["labels"] = prepared.labels
    return plan_of(layers, given)


def _changes(options: Options) -> Changes:
    samples = options.get("calibrate")
    return Changes(
        output=options.get("output"),
        shapes=shapes_of(options.get("shape", ())),
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


def _head(options: Options) -> Head | None:
    if "head" not in options:
        return None
    rule = rule_named(options.get("optimizer", "sgd"))
    given = parse_head(options["head"])
    head = replace(
        given,
        zero=given.zero or rule.zero,
        bias=rule.bias,
        grows=options.get("grow", False),
    )
    return learner_named(options.get("learner")).layer(head, options)


def _start(options: Options) -> Start | None:
    samples, loss = options.get("start"), options.get("loss", "cross-entropy")
    if not samples:
        return None
    starts = learner_named(options.get("learner")).start
    return Start(
        Path(samples),
        weight=options.get("start_weight", Start.weight),
        ridge=options.get("ridge"),
        fit=starts(options) if starts else None,
        any_label="labels" in options,
        reconstruction=loss if loss in RECONSTRUCTIONS else None,
    )


def compilation(model: Path, board: Board, options: Options, ram: int | None = None) -> Compilation:
    """Run the pipeline up to the text of the network and the manifest."""
    check_keywords("a compilation", options, KEYWORDS)
    options = as_learner(options)
    prepared = prepare(model, _changes(options))
    lowered = lower(prepared, _plan(prepared, options, board, ram), board)
    source = stored(model.name)
    network = render_network(
        lowered.training, lowered.arena, lowered.plan, source=source, version=__version__
    )
    return Compilation(
        prepared.data, lowered, network, manifest_of(source, prepared, lowered, network)
    )
