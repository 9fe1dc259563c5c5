"""What a run folder says about a run, read from its files alone."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fewmask.data.catalogue import Catalogue, read_catalogue
from fewmask.errors import DataError
from fewmask.figures import series
from fewmask.order import REQUEST
from fewmask.runs import Run, read_log

NOTES = ("missed", "hallucinated", "both_empty")
OVERLAPS = ("dice", "iou")
_WORDS = ("case", "patient", "class", "note")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of metrics.csv; a value that was left empty is absent."""

    case: str
    patient: str
    name: str
    note: str
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """metrics.csv and summary.json of one folder.  `weights` is "" for those of the model, `last` for the last ones."""

    split: str
    weights: str
    summary: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def count(self) -> int:
        """How many cases were scored."""
        return len({row.case for row in self.rows})

    @property
    def protocol(self) -> str:
        return str(self.summary.get("protocol", "mm"))

    @cached_property
    def distances(self) -> tuple[str, ...]:
        """The summarised columns that are distances, as named in the files: hd95_mm or hd95_voxel, ..."""
        return tuple(key for key in self.summary if key.startswith(("hd95_", "assd_")))

    def notes(self, name: str) -> dict[str, int]:
        """How many cases of a class were missed, hallucinated, or empty in both."""
        return {note: sum(row.name == name and note in row.note for row in self.rows) for note in NOTES}

    def dice(self, name: str) -> list[float]:
        """Dice of every case in which the class is scored."""
        return [row.values["dice"] for row in self.rows if row.name == name and "dice" in row.values]

    @cached_property
    def ranking(self) -> tuple[tuple[str, float], ...]:
        """(case, mean Dice over its classes) from the worst to the best; cases without a score are left out."""
        scores: dict[str, list[float]] = defaultdict(list)
        for row in self.rows:
            if "dice" in row.values:
                scores[row.case].append(row.values["dice"])
        means = [(case, sum(values) / len(values)) for case, values in scores.items()]
        return tuple(sorted(means, key=lambda entry: (entry[1], entry[0])))


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run as its folder holds it.  `name` tells it from the other runs of a report."""

    run: Run
    name: str
    config: Mapping[str, Any]
    split: Mapping[str, Any]
    environment: Mapping[str, Any]
    request: Mapping[str, Any]
    """What the run was begun with, among it `recipes` and `settings`; empty where the folder does not say."""
    log: Sequence[Mapping[str, Any]]
    evaluations: tuple[Evaluation, ...]
    catalogue: Catalogue | None
    without_pictures: str = ""
    """Why there is no catalogue; "" where there is one."""

    @property
    def method(self) -> str:
        return str(self.config.get("method", {}).get("name", "?"))

    @property
    def budget(self) -> int:
        return int(self.config.get("train", {}).get("steps", self.step))

    @property
    def step(self) -> int:
        """The last step in the log; 0 before the first line."""
        return int(self.log[-1]["step"]) if self.log else 0

    @property
    def complete(self) -> bool:
        """Whether training has ended: the model's weights are the last file that it writes."""
        return (self.run.model / "model.safetensors").is_file()

    @property
    def minutes(self) -> float | None:
        seconds = self.log[-1].get("seconds") if self.log else None
        return seconds / 60 if isinstance(seconds, int | float) else None

    @property
    def best(self) -> tuple[int, float] | None:
        """(step, Dice) of the best validation."""
        points = series(self.log, "val", "dice").get("dice")
        if points is None:
            return None
        step, dice = max(zip(*points, strict=True), key=lambda point: point[1])  # the first of equals, as in training
        return int(step), float(dice)

    @property
    def checkpoint(self) -> str:
        """Which weights the model folder holds, as a phrase."""
        if (self.run.best / "model.safetensors").is_file() and self.best:
            return f"the checkpoint with the best Dice on val ({self.best[1]:.3f} at step {self.best[0]:,})"
        return f"the last checkpoint (step {self.step:,})"

    def role(self, role: str) -> tuple[str, ...]:
        """The case ids of a role, without slice numbers, each once."""
        ids = tuple(str(entry) for entry in self.split.get(role, ()))
        if role == "labelled":
            ids = tuple(dict.fromkeys(_case(entry) for entry in ids))
        return ids

    def patients(self, role: str) -> int | None:
        """How many patients play a role; None without a catalogue."""
        if self.catalogue is None:
            return None
        cases = self.catalogue.by_id
        return len({cases[case].patient for case in self.role(role) if case in cases})

    @property
    def scored(self) -> tuple[Evaluation, ...]:
        """The evaluations of the model that is to be used: test, then val, as far as there are."""
        return tuple(evaluation for evaluation in self.evaluations if not evaluation.weights)

    @property
    def main(self) -> Evaluation | None:
        """Where the numbers to report stand: test, else val."""
        return next(iter(self.scored), None)


def read_records(folders: Sequence[Path], catalogue: Catalogue | None = None) -> list[Record]:
    """The runs at `folders`, in that order; `catalogue` serves those that hold none.

    Raises DataError where a folder is no run or one of its files is broken.
    """
    names = _names(folders)
    return [_read(Path(folder), name, catalogue) for folder, name in zip(folders, names, strict=True)]


def _read(folder: Path, name: str, catalogue: Catalogue | None) -> Record:
    run = Run(folder)
    if not run.config.is_file():
        raise DataError(
            f"{folder}: no config.yaml, so no run folder; give the --out of `fewmask run` or `fewmask train`"
        )
    known, why = _catalogue(run, catalogue)
    return Record(
        run=run,
        name=name,
        config=_mapping(run.config),
        split=_mapping(run.split),
        environment=_mapping(run.environment),
        request=_mapping(run.root / REQUEST),
        log=_log(run.log),
        evaluations=tuple(_evaluations(run.evaluation)),
        catalogue=known,
        without_pictures=why,
    )


def _catalogue(run: Run, other: Catalogue | None) -> tuple[Catalogue | None, str]:
    """The run's own catalogue, else the other one, else why there is none: a report outlives the images."""
    why = "the run folder holds no catalogue, so it is not known where the images are"
    if run.catalogue.is_dir():
        try:
            return read_catalogue(run.catalogue), ""
        except DataError as error:
            why = str(error)
    return other, "" if other else why


def _case(entry: str) -> str:
    case, colon, index = entry.rpartition(":")
    return case if colon and index.isdecimal() else entry


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [Path(folder).absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(part[-1:])} ({index})" for index, part in enumerate(parts, start=1)]


def _mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file of settings; {} where there is none."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); write it anew by repeating the run"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys and values; write it anew by repeating the run")
    return content


def _log(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_log(path)
    except ValueError as error:
        raise DataError(f"{path}: a line is not JSON ({error}); remove that line") from None
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def _evaluations(folder: Path) -> list[Evaluation]:
    """Those in `folder` and right under it: the model's before those of other weights, test before val."""
    found = []
    for path in [folder, *sorted(entry for entry in folder.glob("*") if entry.is_dir())]:
        if not (path / "metrics.csv").is_file():
            continue
        summary = _mapping(path / "summary.json")
        split = str(summary.get("split", path.name))
        weights = "" if path == folder or path.name == split else path.name
        found.append(Evaluation(split=split, weights=weights, summary=summary, rows=tuple(_rows(path / "metrics.csv"))))
    order = {"test": 0, "val": 1}
    return sorted(found, key=lambda evaluation: (bool(evaluation.weights), order.get(evaluation.split, 2)))


def _rows(path: Path) -> list[Row]:
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"case", "class", "dice"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path}: no column {', '.join(sorted(missing))}; write it anew with `fewmask evaluate`")
        for line in reader:
            values = {key: _number(text) for key, text in line.items() if key and key not in _WORDS}
            rows.append(
                Row(
                    case=line["case"],
                    patient=line.get("patient") or line["case"],
                    name=line["class"],
                    note=line.get("note") or "",
                    values={key: value for key, value in values.items() if value is not None},
                )
            )
    return rows


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
