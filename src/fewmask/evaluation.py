"""Predicted masks against reference masks -> metrics.csv (case x class) and summary.json, one case in memory at a time.

The unit is the patient.  Volumes: mean over cases, then over classes.  Pictures: overlaps from the pooled confusion
matrix of each group, distances as the group's mean over its frames; groups.csv holds them, metrics.csv the frames.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask import metrics
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue
from fewmask.data.grid import Grid, difference
from fewmask.data.layouts.found import some
from fewmask.errors import DataError, SettingsError
from fewmask.metrics import Scores
from fewmask.pairing import evaluated, masks_by_name, reference_catalogue
from fewmask.progress import track
from fewmask.runs import atomic_write
from fewmask.statistics import bootstrap_interval, class_mean, group_means
from fewmask.types import Case, LabelSet

__all__ = ["evaluate", "evaluated"]

PROTOCOLS = ("auto", "mm", "voxel")
NOTES = ("missed", "hallucinated", "both_empty")
PLANAR_GROUPS = 5
"""Groups of pictures under which no interval is given: the frames of one sequence are no independent sample."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One case: scores of the classes 1..K-1 and the confusion matrix (K, K); voxel_ml None in the voxel protocol."""

    case: Case
    classes: list[Scores]
    counts: np.ndarray
    voxel_ml: float | None


def evaluate(
    predictions: Path,
    reference: Catalogue | Path,
    out: Path,
    cases: Sequence[str] | None = None,
    split: str = "test",
    protocol: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score every case and write metrics.csv and summary.json (groups.csv for pictures) to `out`; returns the summary.

    predictions: a folder with one mask per case, named as the case.  reference: a catalogue, its folder, a data folder,
    or a folder of masks with the same names.  cases: ids, None: all that have a mask.  split: what those cases are, for
    the record.  protocol: `mm`, `voxel` (unit spacing), or `auto`: mm where every case has a spacing.

    Raises DataError for a missing prediction, one of another shape, and one with a value that is no class.
    """
    if protocol not in PROTOCOLS:
        raise SettingsError(f"unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")
    predicted = masks_by_name(predictions)
    catalogue = reference_catalogue(reference, predicted)
    wanted = _wanted(catalogue, cases, split)
    scorable = [case for case in wanted if case.label is not None]
    if not scorable:
        raise DataError(f"{split}: none of {len(wanted)} cases has a mask in the reference, so nothing can be scored")
    if missing := [case.id for case in scorable if case.id not in predicted]:
        raise DataError(
            f"{predictions}: no prediction for {len(missing)} of {len(scorable)} cases ({some(missing)}); "
            "predict them first, each in a file named as its case"
        )
    protocol = _resolved(protocol, scorable)
    pairs = track(scorable, "evaluate", len(scorable), quiet=quiet)
    scored = [_score(case, predicted[case.id], catalogue.labels, protocol) for case in pairs]

    names = catalogue.labels.names[1:]
    groups = _groups(scored)
    summary = {
        **_summary(scored, groups, names, protocol, catalogue.planar),
        "cases": len(scored),
        "groups": len(groups),
        "without_reference": len(wanted) - len(scorable),
        **_notes(score for one in scored for score in one.classes),
        "protocol": protocol,
        "split": split,
    }
    if catalogue.planar:
        atomic_write(out / "groups.csv", _group_table(groups, names))
    atomic_write(out / "metrics.csv", _case_table(scored, names, protocol))
    atomic_write(out / "summary.json", json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return summary


def _wanted(catalogue: Catalogue, ids: Sequence[str] | None, split: str) -> list[Case]:
    if ids is None:
        return [case for case in catalogue.cases if case.label is not None]
    if unknown := [name for name in ids if name not in catalogue.by_id]:
        raise DataError(f"{split}: {some(unknown)} not in the reference {catalogue.name}; give the one that was split")
    return [catalogue.by_id[name] for name in ids]


def _resolved(protocol: str, cases: Sequence[Case]) -> str:
    """mm or voxel; raises SettingsError where mm is asked of a case without spacing."""
    if protocol == "voxel":
        return protocol
    bare = next((case for case in cases if formats.read_header(case.label).grid.spacing_mm is None), None)
    if bare is not None and protocol == "mm":
        raise SettingsError(f"protocol mm: {bare.id} has no voxel spacing in its file; use --protocol voxel")
    return "mm" if bare is None else "voxel"


def _score(case: Case, path: Path, labels: LabelSet, protocol: str) -> Scored:
    raw, grid = formats.read_mask(case.label, case.images[0], labels.colours)
    reference = formats.encode_mask(raw, labels, f"{case.id}: {case.label.name}")
    raw, predicted_grid = formats.read_mask(path, case.images[0])
    _require_same_place(case.id, path, predicted_grid, grid)
    prediction = formats.encode_mask(raw, labels, f"{case.id}: prediction {path.name}")
    ignore = formats.IGNORE(prediction.dtype)
    prediction[prediction == ignore] = 0  # a voxel predicted to be ignored belongs to no class
    valid = reference != ignore
    spacing = grid.spacing_mm if protocol == "mm" else (1.0, 1.0, 1.0)
    scores, counts = metrics.score_classes(prediction, reference, len(labels), spacing, None if valid.all() else valid)
    voxel_ml = math.prod(spacing) / 1000 if protocol == "mm" else None
    return Scored(case=case, classes=scores, counts=counts, voxel_ml=voxel_ml)


def _require_same_place(case: str, path: Path, predicted: Grid, reference: Grid) -> None:
    if predicted.shape != reference.shape:
        apart = f"shape {predicted.shape} and {reference.shape}"
    elif reference.spacing_mm is None or predicted.spacing_mm is None:
        apart = ""  # HDF5 and pictures have no geometry to hold against the file predicted from them
    else:
        apart = difference(predicted, reference)
    if apart:
        raise DataError(f"{case}: prediction {path.name} and its reference differ in {apart}; predict this case again")


def _groups(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Patient or sequence -> its cases, in order of first appearance."""
    groups: dict[str, list[Scored]] = {}
    for one in scored:
        groups.setdefault(one.case.patient, []).append(one)
    return groups


def _columns(protocol: str) -> dict[str, str]:
    """Name in the summary -> field of Scores."""
    columns = {"dice": "dice", "iou": "iou", f"hd95_{protocol}": "hd95", f"assd_{protocol}": "assd"}
    return columns | ({"surface_dice_1mm": "surface_dice"} if protocol == "mm" else {})


def _summary(
    scored: Sequence[Scored], groups: dict[str, list[Scored]], names: Sequence[str], protocol: str, planar: bool
) -> dict[str, Any]:
    """Mean and interval of every column, overall and per class; for pictures the plain mean over frames beside it."""
    patients = [one.case.patient for one in scored]
    overall, per_frame = {}, {}
    per_class: dict[str, dict[str, Any]] = {name: {} for name in names}
    for column, attribute in _columns(protocol).items():
        values = np.array([[getattr(score, attribute) for score in one.classes] for one in scored])
        units, least = patients, 2
        if planar:
            per_frame[column] = class_mean(values)
            values = _per_group(values, patients, groups, attribute)
            units, least = list(groups), PLANAR_GROUPS
        overall[column] = bootstrap_interval(values, units, minimum_groups=least).to_json()
        for name, of_class in zip(names, values.T, strict=True):
            per_class[name][column] = bootstrap_interval(of_class, units, minimum_groups=least).to_json()
    for index, name in enumerate(names):
        per_class[name] |= _notes(one.classes[index] for one in scored)
    return {**overall, **({"per_frame": per_frame} if planar else {}), "per_class": per_class}


def _per_group(
    values: np.ndarray, patients: Sequence[str], groups: dict[str, list[Scored]], attribute: str
) -> np.ndarray:
    """(G, K-1): overlaps of the pooled confusion matrix, else means of the frames' values (N, K-1)."""
    if attribute in ("dice", "iou"):
        return np.array([getattr(metrics, attribute)(_pooled(frames))[1:] for frames in groups.values()])
    return np.stack([group_means(of_class, patients) for of_class in values.T], axis=1)


def _pooled(frames: Sequence[Scored]) -> np.ndarray:
    return np.sum([frame.counts for frame in frames], axis=0)


def _notes(scores: Iterable[Scores]) -> dict[str, int]:
    """How many (case, class) pairs each rule for empty masks touched."""
    seen = [score.note for score in scores]
    return {note: seen.count(note) for note in NOTES}


def _case_table(scored: Sequence[Scored], names: Sequence[str], protocol: str) -> str:
    """metrics.csv; columns that need mm are empty in the voxel protocol."""
    header = ["case", "patient", "class", "dice", "iou", f"hd95_{protocol}", f"assd_{protocol}", "surface_dice_1mm"]
    rows: list[list[Any]] = [[*header, "volume_ml", "reference_volume_ml", "note"]]
    for one in scored:
        for name, score in zip(names, one.classes, strict=True):
            row = [one.case.id, one.case.patient, name]
            row += [_number(value) for value in (score.dice, score.iou, score.hd95, score.assd)]
            if one.voxel_ml is None:
                row += ["", "", ""]
            else:
                volumes = (score.voxels * one.voxel_ml, score.reference_voxels * one.voxel_ml)
                row += [_number(value) for value in (score.surface_dice, *volumes)]
            rows.append([*row, score.note])
    return _csv(rows)


def _group_table(groups: dict[str, list[Scored]], names: Sequence[str]) -> str:
    """groups.csv: overlaps of each group's pooled confusion matrix."""
    rows: list[list[Any]] = [["patient", "frames", "class", "dice", "iou", "note"]]
    for patient, frames in groups.items():
        counts = _pooled(frames)
        overlaps = zip(names, metrics.dice(counts)[1:], metrics.iou(counts)[1:], strict=True)
        for label, (name, dice, iou) in enumerate(overlaps, start=1):
            rows.append([patient, len(frames), name, _number(dice), _number(iou), metrics.note(counts, label)])
    return _csv(rows)


def _number(value: float) -> str:
    """Six digits; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
