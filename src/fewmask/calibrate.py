"""A run's calibration: what agreement was worth on val, whose masks are known, and what its training images look like.

Val also chose the checkpoint, so its Dice is a little high; docs/results/trust.md says by how much intervals miss.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewmask.data.cache import Cache
from fewmask.data.catalogue import Catalogue
from fewmask.dice_table import read_dice
from fewmask.predictors import load_model, model_hash
from fewmask.runs import Run
from fewmask.trust import EVIDENCE, WHOLE, Calibration, Evidence, Point, appearance, read_evidence
from fewmask.trust.familiarity import class_ranges, familiar_images
from fewmask.types import Split

MOST_LABELLED = 200
"""Labelled images that are looked at for what is usual."""


def calibrate(run: Run, catalogue: Catalogue, split: Split, cache: Cache) -> Calibration:
    """Write model/calibration.json of a run whose predictions and evaluation are there, and return it.

    Test counts for nothing in it.
    """
    model = load_model(run.model)
    seen = {case: run.predictions / EVIDENCE / f"{case}.json" for case in (*split.val, *split.unlabelled)}
    evidence = {case: read_evidence(path) for case, path in seen.items() if path.is_file()}
    labelled = [case for case in split.cases("labelled") if cache.has(case)][:MOST_LABELLED]
    images = [appearance(cache.normalised(case, model.intensity, model.fingerprint)) for case in labelled]
    found = calibration_from(model_hash(run.model), catalogue, split, evidence, dice_of(val_folder(run)), images)
    found.write(run.model)
    return found


def calibration_from(
    model: str,
    catalogue: Catalogue,
    split: Split,
    evidence: Mapping[str, Evidence],
    dice: Mapping[str, Mapping[str, float | None]],
    labelled: Iterable[Mapping[str, float]],
) -> Calibration:
    """The calibration of a model (its hash) from evidence of val and unlabelled cases, val's Dice, and what labelled
    images look like."""
    val = [evidence[case] for case in split.val if case in evidence]
    return Calibration(
        model=model,
        source="val",
        points=points(val, dice, {case.id: case.patient for case in catalogue.cases}),
        ranges=class_ranges(list(evidence.values()), catalogue.labels.names[1:]),
        familiar=familiar_images([*labelled, *(one.image for one in evidence.values())]),
    )


def val_folder(run: Run) -> Path | None:
    """Where val was evaluated: evaluation/val beside a test, else evaluation; None: nowhere."""
    for folder in (run.evaluation / "val", run.evaluation):
        path = folder / "summary.json"
        if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["split"] == "val":
            return folder
    return None


def dice_of(folder: Path | None) -> dict[str, dict[str, float | None]]:
    """case -> class -> Dice from metrics.csv, None where neither mask has the class."""
    if folder is None:
        return {}
    table = read_dice(folder / "metrics.csv")
    return {
        case: {name: None if math.isnan(value) else value for name, value in zip(table.classes, dice, strict=True)}
        for case, dice in zip(table.rows, table.dice.tolist(), strict=True)
    }


def points(
    evidence: Sequence[Evidence], dice: Mapping[str, Mapping[str, float | None]], patients: Mapping[str, str]
) -> tuple[Point, ...]:
    """Calibration points of the cases whose Dice is known: one a class, and one for the whole mask."""
    groups = {patient: number for number, patient in enumerate(dict.fromkeys(patients[e.case] for e in evidence))}
    found = []
    for number, one in enumerate(evidence):
        if one.case not in dice:
            continue
        known = dice[one.case]
        levels = ("quick", "full") if one.level == "full" else (one.level,)
        scores = {name: {level: seen.score(level) for level in levels} for name, seen in one.classes.items()}
        scores[WHOLE] = {level: _mean(score[level] for score in scores.values()) for level in levels}
        whole = {WHOLE: _mean(known.get(name) for name in one.classes)}
        found += [
            Point(case=number, group=groups[patients[one.case]], name=name, score=score, dice={**known, **whole}[name])
            for name, score in scores.items()
        ]
    return tuple(found)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
