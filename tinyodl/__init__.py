"""tinyodl: an ONNX file goes in, firmware that keeps learning on a microcontroller comes out.

    import tinyodl

    tinyodl.compile("model.onnx", "nrf52840_dk", "build/watch", update="last")
    tinyodl.flash("build/watch", port="virtual")
    with tinyodl.Session("build/watch", port="virtual") as session:
        summary = session.train(x, y, eval=(x_test, y_test))
        session.export("learned.onnx")

Importing this is quick: what a function needs is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from tinyodl.project.keywords import strict
from tinyodl.project.plan import UpdatePlan

if TYPE_CHECKING:
    from tinyodl.project.keyword_types import Options
    from tinyodl.project.manifest import Manifest
    from tinyodl.rehearsal.rehearse import Rehearsal
    from tinyodl.session.flashing import Flashed, OnLine
    from tinyodl.session.profiling import Profile
    from tinyodl.session.session import Session

__version__ = "0.1.0"

__all__ = [
    "Session",
    "UpdatePlan",
    "__version__",
    "compile",
    "flash",
    "plan",
    "profile",
    "rehearse",
]


def compile(
    model: str | Path,
    board: str | Path,
    out: str | Path,
    *,
    ram: int | None = None,
    flash: int | None = None,
    config: str | Path | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """Compile an ONNX file into a PlatformIO project; see `tinyodl.compiler.compile_model`.

    `config` is a file of options, such as `tinyodl init` writes; the ones given here win over it,
    and no other file is read.
    """
    from tinyodl.compiler import compile_model

    options, budgets = _with_config(config, options)
    ram, flash = ram or budgets.get("ram"), flash or budgets.get("flash")
    return compile_model(Path(model), str(board), Path(out), ram=ram, flash=flash, **options)


def plan(
    model: str | Path,
    board: str | Path,
    *,
    ram: int | None = None,
    flash: int | None = None,
    config: str | Path | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """The manifest `compile` would write; nothing is written. See `tinyodl.compiler.plan_model`."""
    from tinyodl.compiler import plan_model

    options, budgets = _with_config(config, options)
    ram, flash = ram or budgets.get("ram"), flash or budgets.get("flash")
    return plan_model(Path(model), str(board), ram=ram, flash=flash, **options)


@strict
def rehearse(
    model: str | Path,
    board: str | Path,
    data: str | Path,
    *,
    eval: str | Path | None = None,
    old: str | Path | None = None,
    jobs: int = 1,
    dask: str | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> Rehearsal:
    """Try every learner and plan that fits on samples; see `tinyodl.rehearsal.rehearse`."""
    from tinyodl.rehearsal.rehearse import rehearse as tried

    def path(given: str | Path | None) -> Path | None:
        return None if given is None else Path(given)

    return tried(
        Path(model), str(board), Path(data), eval=path(eval), old=path(old), jobs=jobs, dask=dask,
        folder=path(folder), **options,
    )  # fmt: skip


def _with_config(
    config: str | Path | None, options: Options
) -> tuple[Options, Mapping[str, int | None]]:
    """The options, completed from a file of options, and the budgets in the file."""
    if config is None:
        return options, {}
    from tinyodl.project.config import read_config
    from tinyodl.project.options import KEYWORDS

    read = read_config(Path(config))
    own = {name: value for name, value in read.items() if name not in KEYWORDS}
    return cast("Options", {**{n: read[n] for n in read if n in KEYWORDS}, **options}), own


@strict
def flash(
    project: str | Path,
    port: str | None = None,
    patience: float | None = None,
    *,
    progress: OnLine | None = None,
) -> Flashed:
    """Build a project and put it on its board; see `tinyodl.session.flashing.flash_project`."""
    from tinyodl.device.link import PATIENCE
    from tinyodl.session.flashing import flash_project

    seconds = PATIENCE if patience is None else patience
    return flash_project(Path(project), port, seconds, progress=progress)


@strict
def profile(project: str | Path, data: str | Path | None = None) -> Profile:
    """Count a step on the virtual board, node by node; see `session.profiling.profile_project`."""
    from tinyodl.session.profiling import profile_project

    return profile_project(Path(project), Path(data) if data is not None else None)


def __getattr__(name: str) -> Any:
    if name == "Session":
        from tinyodl.session.session import Session

        return Session
    raise AttributeError(f"module 'tinyodl' has no attribute {name!r}")
