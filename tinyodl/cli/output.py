"""Where words go: results to stdout, progress to stderr; with --json one object to stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from tinyodl.report.figures import percent
from tinyodl.report.saves import of_event
from tinyodl.report.terminal import Terminal
from tinyodl.runs.progress import OnProgress, Progress
from tinyodl.select.progress import OnTrial
from tinyodl.select.progress import Progress as Trials

_STAGES = {"before": "accuracy before", "learning": "learning", "after": "accuracy after"}


class Output:
    """What a command prints. `people` is the console for tables and sentences."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.people = Terminal(stderr=as_json)
        self.errors = Terminal(stderr=True)

    def tell(self, sentence: str) -> None:
        """A line for people that is not wrapped, so that its paths and commands can be copied."""
        self.people.print(sentence, soft_wrap=True)

    def styled(self, ours: str) -> None:
        """Our own words with rich's markup; nothing from outside may be in them."""
        self.people.print(Text.from_markup(ours))

    def result(self, values: dict[str, Any]) -> None:
        """The command's one JSON object; nothing without --json."""
        if self.as_json:
            click.echo(json.dumps(values, indent=1, allow_nan=False))

    @contextmanager
    def stages(self, rename: dict[str, str] | None = None) -> Iterator[OnProgress]:
        """Progress bars for a session, one a stage."""
        names = _STAGES | (rename or {})
        with Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[share]}", markup=False),
            TimeRemainingColumn(),
            console=self.errors,
        ) as bars:
            tasks: dict[str, Any] = {}

            def show(progress: Progress) -> None:
                name = names[progress.stage]
                if progress.note:
                    self.errors.print(progress.note, soft_wrap=True)
                if progress.stage not in tasks:
                    tasks[progress.stage] = bars.add_task(name, total=progress.total, share="")
                bars.update(tasks[progress.stage], completed=progress.done, share=_share(progress))
                told = of_event(progress.event) if progress.event else None
                if told:
                    bars.console.print(told, markup=False)

            yield show

    @contextmanager
    def bars(self) -> Iterator[Callable[[str], OnProgress]]:
        """One progress bar for each of several runs: what is yielded makes one from its name."""
        with Bars(
            TextColumn("{task.description:<16}", markup=False),
            BarColumn(bar_width=32),
            TaskProgressColumn(),
            TextColumn("{task.fields[share]}", markup=False),
            console=self.errors,
        ) as bars:

            def bar(name: str) -> OnProgress:
                task = bars.add_task(name, total=len(_STAGES), share="")

                def show(progress: Progress) -> None:
                    if progress.note:
                        self.errors.print(f"{name}: {progress.note}", soft_wrap=True)
                    done = list(_STAGES).index(progress.stage) + progress.done / progress.total
                    share = _share(progress)
                    bars.update(task, completed=done, share=f"{_STAGES[progress.stage]} {share}")

                return show

            yield bar

    @contextmanager
    def trials(self) -> Iterator[OnTrial]:
        """A progress bar for the plans that are tried; nothing is printed before the first."""
        bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.errors,
        )
        tasks: list[Any] = []

        def show(progress: Trials) -> None:
            if not tasks:
                tasks.append(bars.add_task("", total=progress.total))
                bars.start()
            name = f"trying {progress.name}" if progress.name else "tried"
            bars.update(tasks[0], description=name, completed=progress.done)

        try:
            yield show
        finally:
            if tasks:
                bars.stop()

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """A spinner beside a sentence, for what takes seconds and cannot be counted."""
        with self.errors.status(Text(what)):
            yield


def _share(progress: Progress) -> str:
    share = "" if progress.accuracy is None else percent(progress.accuracy)
    saved = progress.event is not None and progress.event.name == "saved"
    return f"{share}, saved" if saved else share
