"""A grid whose cells were never trained: their folders hold what a run would have left."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fewmask.comparison.grid import DONE, Grid, make_grid
from fewmask.runs import Run

CLASSES = ("left", "right")
PATIENTS = tuple(f"p{number}" for number in range(8))


def _leave(run: Run, dice: np.ndarray, *, val: float | None = 0.5, minutes: float = 2.0) -> None:
    """What a run leaves: dice (8 patients x 2 cases, 2 classes), NaN where both masks are empty."""
    folder = run.evaluation
    (folder / "val").mkdir(parents=True)
    cases = [(f"{patient}-{phase}", patient) for patient in PATIENTS for phase in ("a", "b")]
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "class", "dice", "iou", "hd95_mm", "note"])
        for (case, patient), row in zip(cases, dice, strict=True):
            for name, value in zip(CLASSES, row, strict=True):
                writer.writerow([case, patient, name, "" if np.isnan(value) else value, "", "", ""])
    mean = float(np.nanmean(np.nanmean(dice, axis=0)))
    told = {"mean": mean, "low": None, "high": None}
    summary = {"dice": told, "iou": told, "hd95_mm": {"mean": 3.25}, "per_class": {}, "cases": 16}
    summary |= {"protocol": "mm", "split": "test"}
    (folder / "summary.json").write_text(json.dumps(summary))
    if val is not None:
        (folder / "val" / "summary.json").write_text(json.dumps({"dice": {"mean": val}}))
    run.environment.write_text(json.dumps({"git_commit": "abc"}))
    run.log.write_text(json.dumps({"step": 30, "seconds": 60 * minutes}) + "\n")


@pytest.fixture
def leave() -> Callable[..., None]:
    """A function that leaves in a folder what a run would have."""
    return _leave


@pytest.fixture
def make_cells(tmp_path: Path) -> Callable[..., Grid]:
    """A function: method -> Dice to add to 0.6 (a number, or (16, 2)), for each budget and seed; returns the grid."""

    def make(
        methods: Mapping[str, float | np.ndarray],
        labelled: Mapping[str, float] | None = None,
        seeds: tuple[int, ...] = (0, 1, 2),
        exemplars: tuple[str, ...] = (),
        val: Mapping[str, float] | None = None,
    ) -> Grid:
        budgets = {"3": 0.0} if labelled is None else labelled
        grid = make_grid(list(methods), list(budgets), list(exemplars), seeds, tmp_path)
        chance = np.random.default_rng(0)
        cases, luck = chance.normal(0, 0.08, (16, 2)), chance.normal(0, 0.004, (len(grid.cells), 16, 2))
        for cell, own in zip(grid.cells, luck, strict=True):
            level = 0.6 + budgets.get(cell.budget.name, 0.0) + 0.003 * cell.seed
            dice = np.clip(level + cases + own + methods[cell.entry.label], 0, 1)
            _leave(cell.run, dice, val=(val or {}).get(cell.entry.label, 0.5))
            (cell.folder / DONE).write_text(json.dumps({"minutes": 2.0, "memory_mb": 700, "gpu_memory_mb": None}))
        return grid

    return make
