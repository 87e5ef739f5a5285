"""The pipeline from an ONNX file to a project: import, choose, plan, render, write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

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
from tinyodl.project.manifest_records import choice_record, manifest_of
from tinyodl.project.options import KEYWORDS
from tinyodl.project.plan import RECONSTRUCTIONS, UpdatePlan
from tinyodl.project.plan_file import load_plan, plan_of
from tinyodl.select import AUTO, SCHEMES, choose
from tinyodl.select.candidates import check_candidates, with_candidates, with_room
from tinyodl.targets.boards import Board, find_board
from tinyodl.text import stored

if TYPE_CHECKING:
    from tinyodl.select.auto import Chosen
    from tinyodl.select.progress import OnTrial


@dataclass(frozen=True)
class Compilation:
    """Everything `compile` worked out, before anything is written."""

    model: bytes  # the ONNX file that the project keeps
    lowered: Lowered
    network: Network
    manifest: Manifest
    chosen: Chosen | None = None  # of --update auto


def compile_model(
    model: Path,
    board: str,
    out: Path,
    *,
    ram: int | None = None,
    flash: int | None = None,
    progress: OnTrial | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """Compile an ONNX file into a PlatformIO project in `out`, and return its manifest.

    `ram` and `flash` are budgets in bytes, at most the board's. `progress` is told of the trials of
    `update` "auto". Raises ModelError, UserError, DoesNotFitError, or InUseError while another has
    `out`; then nothing is written.
    """
    with locked_folder(out):
        made = compilation(model, find_board(board, model), options, ram, flash, progress)
        check_fit(made.lowered, made.manifest, ram, flash)
        files = render_project(made.manifest, made.network, board_of(made.manifest), made.model)
        write_project(files, out)
        remember_sources(out)
    return made.manifest


def plan_model(
    model: Path,
    board: str,
    *,
    ram: int | None = None,
    flash: int | None = None,
    progress: OnTrial | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """The manifest that `compile_model` would write; nothing is written.

    A model that does not fit is no error here: the caller compares the manifest with the board.
    """
    return compilation(model, find_board(board, model), options, ram, flash, progress).manifest


def _rule(prepared: Prepared, options: Options) -> dict[str, Any]:
    """The options, with what the prepared model brings for the plan."""
    given: dict[str, Any] = {**options, "seen": prepared.seen}
    if given.get("labels") == ():
        given["labels"] = prepared.labels
    return given


def _chosen(
    prepared: Prepared,
    board: Board,
    options: Options,
    budgets: tuple[int | None, int | None],
    progress: OnTrial | None,
) -> Chosen:
    """The choice of --update auto."""
    from tinyodl.select.auto import TRIALS, choose_plan
    from tinyodl.select.budget import Budget
    from tinyodl.select.importance import load_samples

    file = options.get("samples")
    rule = plan_of({}, _rule(prepared, options))
    samples = load_samples(Path(file), prepared.graph, rule) if file else None
    budget = Budget(*budgets, options.get("time"), options.get("energy"))
    trials = options.get("trials", TRIALS)
    return choose_plan(prepared, rule, board, samples, budget, trials=trials, progress=progress)


def _plan(prepared: Prepared, options: Options, board: Board, ram: int | None) -> UpdatePlan:
    update = options.get("update", "last")
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
    return plan_of(layers, _rule(prepared, options))


def changes_of(options: Options) -> Changes:
    """The changes to the model's file that the options ask for, a learner's own among them."""
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


def compilation(
    model: Path,
    board: Board,
    options: Options,
    ram: int | None = None,
    flash: int | None = None,
    progress: OnTrial | None = None,
) -> Compilation:
    """Run the pipeline up to the text of the network and the manifest.

    `ram` and `flash` are budgets of `update` "auto", `ram` of "device" too.
    """
    check_keywords("a compilation", options, KEYWORDS)
    options = as_learner(options)
    prepared = prepare(model, changes_of(options))
    chosen = None
    if options.get("update") == AUTO:
        chosen = _chosen(prepared, board, options, (ram, flash), progress)
    else:
        _check_unused(options)
    plan = chosen.plan if chosen else _plan(prepared, options, board, ram)
    lowered = lower(prepared, plan, board)
    source = stored(model.name)
    network = render_network(
        lowered.training, lowered.arena, lowered.plan, source=source, version=__version__
    )
    manifest = manifest_of(source, prepared, lowered, network)
    if chosen:
        manifest = manifest.model_copy(update={"choice": choice_record(chosen)})
    return Compilation(prepared.data, lowered, network, manifest, chosen)


def _check_unused(options: Options) -> None:
    """Raises UserError for options of --update auto beside another choice."""
    unused = [name for name in ("samples", "trials", "time", "energy") if name in options]
    if unused:
        raise UserError(f"{unused[0]} is for --update auto; give that, or leave it away")
    if options.get("update") != "device" and "candidates" in options:
        raise UserError("--candidates is for --update device; give both")
