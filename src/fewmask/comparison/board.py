"""The live table of a comparison: a row a method and budget, a column a seed; lines where there is no terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fewmask.comparison.grid import Cell, Grid
from fewmask.progress import say

TAIL = 16_384
"""Bytes from the end of a log in which its last whole line lies."""


class Board:
    """Knows how each cell stands: from what it was told, and of running cells from their logs."""

    def __init__(self, grid: Grid, failed: dict[Cell, str], live: Live | None, quiet: bool) -> None:
        """failed: cell -> why; what is told of a failure is noted there."""
        self._grid, self.failed, self._live, self._quiet = grid, failed, live, quiet
        self._began = time.monotonic()
        self._before = sum(cell.record() is not None for cell in grid.cells)

    def ended(self, cell: Cell, failure: str | None) -> None:
        """A cell is done, or failed for a reason."""
        if failure is not None:
            self.failed[cell] = failure
        if self._live is None:
            done = sum(other.record() is not None for other in self._grid.cells)
            told = f"failed: {failure}" if failure else standing(cell)
            say(f"compare: {done} of {len(self._grid.cells)}  {cell.title}: {told}{self._left(done)}", self._quiet)
        else:
            self.refresh()

    def refresh(self) -> None:
        """Draw the table anew, at a terminal."""
        if self._live is not None:
            self._live.update(self.table())

    def table(self) -> Table:
        """How all cells stand."""
        done = sum(cell.record() is not None for cell in self._grid.cells)
        table = Table(title=f"{done} of {len(self._grid.cells)} cells{self._left(done)}", title_justify="left")
        table.add_column("method")
        table.add_column("labelled", justify="right")
        for seed in self._grid.seeds:
            table.add_column(f"seed {seed}", justify="right")
        cells = {(cell.entry.label, cell.budget.name, cell.seed): cell for cell in self._grid.cells}
        for entry in self._grid.entries:
            for budget in self._grid.budgets:
                row = [cells[entry.label, budget.name, seed] for seed in self._grid.seeds]
                table.add_row(entry.label, budget.name, *("failed" if c in self.failed else standing(c) for c in row))
        return table

    def _left(self, done: int) -> str:
        """How long the rest takes if cells go on as they went."""
        mine, rest = done - self._before, len(self._grid.cells) - done - len(self.failed)
        if mine <= 0 or rest <= 0:
            return ""
        return f", about {(time.monotonic() - self._began) / mine * rest / 60:.0f} min left"


@contextmanager
def board(grid: Grid, failed: dict[Cell, str], quiet: bool) -> Iterator[Board]:
    """A board that is drawn at a terminal, and speaks in lines elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield Board(grid, failed, None, quiet)
        return
    with Live(console=Console(stderr=True), refresh_per_second=2, vertical_overflow="visible") as live:
        shown = Board(grid, failed, live, quiet)
        shown.refresh()
        yield shown
        shown.refresh()


def standing(cell: Cell) -> str:
    """`0.782` of a finished cell, `step 1,200, val 0.710` (Dice) of a running one, `preparing`, `waiting`."""
    summary = cell.run.evaluation / "summary.json"
    if cell.record() is not None and summary.is_file():
        mean = json.loads(summary.read_text(encoding="utf-8"))["dice"]["mean"]
        return "no class" if mean is None else f"{mean:.3f}"
    last = _last_line(cell.run.log)
    if last is None:
        return "preparing" if cell.folder.is_dir() else "waiting"
    val = last.get("val")
    return f"step {last['step']:,}" + (f", val {val['dice']:.3f}" if val else "")


def _last_line(path: Path) -> dict | None:
    """The last whole entry of a log, read from its end: a log may be long and is asked for often."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")[:-1]
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None
