"""The grid of a comparison: which method, with whose labels, with which seed; and where each cell lies."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fewmask import resolution
from fewmask.choice import AUTO
from fewmask.config import merge, nearest, parse_assignments
from fewmask.errors import SettingsError
from fewmask.recipe import recipe_names
from fewmask.resolution import Request
from fewmask.runs import Run

DONE = "cell.json"
"""Written last into a cell's folder: that it is finished, how long it took and how much memory."""
EXEMPLAR = "1 exemplar"
"""The budget under which exemplars stand: each is another draw of whom to label, as a seed is one of training."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method as the comparison names it: `fixmatch`, `diffrect+diffuse=false`, a recipe that names a method."""

    label: str
    method: str | None
    recipe: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def request(self, recipes: Sequence[str], settings: Mapping[str, Any]) -> Request:
        """What is asked of its runs, on top of what all share."""
        own = (self.recipe,) if self.recipe else ()
        merged = merge([("", settings), ("", self.settings)])[0]
        return Request(method=self.method, recipes=(*own, *recipes), settings=merged)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One choice of labelled patients.  name: as asked for; group: the column of results it belongs to."""

    name: str
    group: str
    exemplar: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One run of the grid, in `folder`; two cells are never equal."""

    entry: Entry
    budget: Budget
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.entry.label}, {self.budget.name} labelled, seed {self.seed}"

    @property
    def run(self) -> Run:
        return Run(self.folder)

    @property
    def log(self) -> Path:
        """What its process said, beside the folder so that a cell that never began has one too."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def record(self) -> dict[str, Any] | None:
        """cell.json of a finished cell."""
        path = self.folder / DONE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells that were asked for, a seed of all methods after another."""

    entries: tuple[Entry, ...]
    budgets: tuple[Budget, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]


def make_grid(
    methods: Sequence[str], labelled: Sequence[str], exemplars: Sequence[str], seeds: Sequence[int], out: Path
) -> Grid:
    """The grid in `out`/cells.  Raises SettingsError for what is named twice, unknown or missing."""
    if not methods:
        raise SettingsError("--methods: name at least one, for example --methods supervised,fixmatch")
    entries = tuple(read_entry(text) for text in _once("--methods", methods))
    budgets = [Budget(name=name, group=name) for name in _once("--labelled", labelled)]
    budgets += [Budget(name=name, group=EXEMPLAR, exemplar=True) for name in _once("--exemplars", exemplars)]
    if not budgets:
        raise SettingsError("--labelled: name at least one number of patients, for example --labelled 1,3,7")
    _once("--labelled and --exemplars", [budget.name for budget in budgets])  # they would share a folder
    if not seeds or min(seeds) < 0:
        raise SettingsError("--seeds: name at least one whole number from 0 on, for example --seeds 0,1,2")
    _once("--seeds", [str(seed) for seed in seeds])
    cells = [
        Cell(
            entry=entry,
            budget=budget,
            seed=seed,
            folder=out / "cells" / f"{slug(entry.label)}-{slug(budget.name)}-{seed}",
        )
        for seed, budget, entry in product(seeds, budgets, entries)
    ]
    return Grid(entries=entries, budgets=tuple(budgets), seeds=tuple(seeds), cells=tuple(cells))


def read_entry(text: str) -> Entry:
    """`NAME`, or `NAME+key=value+...` with settings of the method alone; NAME is a method or a recipe of one."""
    name, *assignments = text.split("+")
    known = [*resolution.method_names(), AUTO]
    recipe = None
    if name not in known:
        if name not in recipe_names() and not name.endswith((".yaml", ".yml")):
            raise SettingsError(f"--methods: unknown method '{name}'{nearest(name, known)}")
        recipe = name
        if resolution.asked_method(Request(recipes=(name,))) is None:
            raise SettingsError(f"--methods: recipe {name} names no method; give it as --recipe, for all")
    own = parse_assignments(assignments)
    settings = {"method": own} if own else {}
    return Entry(label=text, method=None if recipe else name, recipe=recipe, settings=settings)


def split_list(text: str) -> list[str]:
    """`a,b+box=[1,2],c` -> its parts; commas inside brackets separate nothing."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def slug(text: str) -> str:
    """A file name of `text`; what had to be changed is told apart by a hash."""
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")[:60]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _once(option: str, names: Sequence[str]) -> Sequence[str]:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise SettingsError(f"{option}: '{name}' is named twice; leave one out")
    return names
