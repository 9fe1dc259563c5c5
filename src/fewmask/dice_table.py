"""Dice as evaluation wrote it: metrics.csv, a line a case and class; or groups.csv, a line a group of pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class DiceTable:
    """dice (N, K - 1), NaN where neither mask nor prediction has the class; a row a case, or a group."""

    rows: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    dice: np.ndarray

    def of(self, rows: Sequence[str]) -> np.ndarray:
        """(len(rows), K - 1), in that order; KeyError where one was not scored."""
        place = {row: number for number, row in enumerate(self.rows)}
        return self.dice[[place[row] for row in rows]]


def read_dice(path: Path) -> DiceTable:
    """The Dice in a metrics.csv or groups.csv, rows and classes in the order of the file."""
    patients: dict[str, str] = {}
    classes: dict[str, None] = {}
    values: dict[tuple[str, str], float] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row = line.get("case") or line["patient"]
            patients[row] = line["patient"]
            classes[line["class"]] = None
            values[row, line["class"]] = float(line["dice"] or "nan")
    dice = np.array([[values[row, name] for name in classes] for row in patients])
    return DiceTable(
        rows=tuple(patients),
        patients=tuple(patients.values()),
        classes=tuple(classes),
        dice=dice.reshape(len(patients), len(classes)),
    )
