"""Progress on stderr: a bar with rate and time left at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

Item = TypeVar("Item")

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal; what takes less says nothing."""


class Meter:
    """Counts towards a total; `note` is shown behind the bar."""

    def __init__(self, label: str, total: int, done: int, bar: RichProgress | None, quiet: bool) -> None:
        self._label, self._total, self._done, self._first = label, total, done, done
        self._bar, self._quiet = bar, quiet
        self._task = bar.add_task(label, total=total, completed=done, note="") if bar else None
        self._started = self._spoke = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(self._task, advance=count, **({"note": note} if note else {}))
        elif time.monotonic() - self._spoke > LINE_EVERY:
            self._spoke = time.monotonic()
            rate = (self._done - self._first) / (self._spoke - self._started)
            left = (self._total - self._done) / max(rate, 1e-9)
            say(
                f"{self._label}: {self._done} of {self._total}, {rate:.1f} a second, {left:.0f} s left  {note}".rstrip()
            )


@contextmanager
def meter(label: str, total: int, *, done: int = 0, quiet: bool = False) -> Iterator[Meter]:
    """A meter for `total` items of which `done` were finished before."""
    if quiet or not sys.stderr.isatty():
        yield Meter(label, total, done, None, quiet)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Meter(label, total, done, bar, quiet)


def track(items: Iterable[Item], label: str, total: int, *, quiet: bool = False) -> Iterator[Item]:
    """The items, counted as they are asked for."""
    with meter(label, total, quiet=quiet) as shown:
        for item in items:
            yield item
            shown.advance()


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


def say(text: str, quiet: bool = False) -> None:
    """One line on stderr unless `quiet`."""
    if not quiet:
        Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
