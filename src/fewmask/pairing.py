"""Which predicted mask belongs to which reference mask: by name, whatever the formats and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewmask.config import nearest
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, is_catalogue, open_catalogue, read_catalogue
from fewmask.data.folders import files_below
from fewmask.data.layouts.found import identifier, in_order, patient_of
from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.runs import Run
from fewmask.types import ROLES, Case, LabelSet

PLAIN_VALUES = 256
"""More different values than this in a folder of masks are no classes."""
BESIDE_MASKS = ("probabilities", "uncertainty", "samples")
"""Folders that `predict` writes into a folder of masks; what they hold are no masks."""


def evaluated(predictions: Path, role: str | None) -> tuple[Path, tuple[str, ...] | None, str]:
    """(folder of masks, ids to score or None for all, role for the record) of a folder of masks or a run folder.

    The ids are those of `role`, default test, in the split.json of the run folder or beside the folder of masks; all
    where there is no such file.  Raises SettingsError for a role that is not there or has no cases.
    """
    run = next((Run(root) for root in (predictions, predictions.resolve().parent) if Run(root).split.is_file()), None)
    if run is None:
        if role is not None:
            raise SettingsError(f"--split {role}: no split.json in or beside {predictions}; leave --split out")
        return predictions, None, "all"
    role = role or "test"
    if role not in ROLES:
        raise SettingsError(f"--split {role}: no role{nearest(role, ROLES)}")
    split = read_split(run.split)
    ids = split.cases(role)
    if not ids:
        others = [f"--split {other}" for other in ("test", "val", "unlabelled") if getattr(split, other)]
        raise SettingsError(f"{run.split}: no cases in role {role}; use {' or '.join(others) or 'another split'}")
    folder = run.predictions if (predictions / run.split.name).is_file() else predictions
    return folder, ids, role


def masks_by_name(folder: Path) -> dict[str, Path]:
    """Case id -> mask file, at any depth of `folder`; the ids are those a scan of the same tree would give."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the masks")
    found: dict[str, Path] = {}
    for path in files_below(folder):
        inside = path.parent.relative_to(folder)
        if formats.is_image_file(path) and inside.parts[:1] not in {(name,) for name in BESIDE_MASKS}:
            name = identifier((inside / formats.stem(path)).as_posix())
            if name in found:
                raise DataError(f"{folder}: {found[name].name} and {path.name} are both masks of '{name}'; remove one")
            found[name] = path
    return found


def reference_catalogue(reference: Catalogue | Path, predicted: dict[str, Path]) -> Catalogue:
    """The reference as a catalogue: as it is, read, made from a folder of masks named as the predictions, or scanned.

    predicted: what `masks_by_name` found among the predictions.  Raises DataError where there is no class to score.
    """
    if isinstance(reference, Catalogue):
        catalogue = reference
    elif is_catalogue(reference):
        catalogue = read_catalogue(reference)  # what is wrong with a mask is said when it is compared
    elif (reference / "dataset.yaml").is_file():
        catalogue = open_catalogue(reference)
    else:
        masks = masks_by_name(reference)
        named = masks.keys() & predicted.keys()
        catalogue = None
        if len(named) < len(masks) or not named:
            catalogue = _scanned(reference, fallback=bool(named))
        catalogue = catalogue or _plain(reference, masks, predicted)
    if len(catalogue.labels) < 2:
        raise DataError(f"{catalogue.name}: the reference has no class besides the background; nothing can be scored")
    return catalogue


def _scanned(folder: Path, fallback: bool) -> Catalogue | None:
    """The catalogue of a data folder; None, if `fallback`, where a scan finds no image with a mask."""
    try:
        catalogue = open_catalogue(folder)
    except DataError:
        if fallback:
            return None
        raise
    return catalogue if not fallback or any(case.label is not None for case in catalogue.cases) else None


def _plain(folder: Path, masks: dict[str, Path], predicted: dict[str, Path]) -> Catalogue:
    """A folder of masks as a catalogue: every value of a mask or of its prediction is a class, named by the value."""
    values = {0}
    planar = True
    for name, path in masks.items():
        for file in (path, predicted.get(name, path)):
            mask, grid = formats.read_mask(file)
            planar = planar and grid.planar
            found = np.unique(mask)
            if len(found) > PLAIN_VALUES or (found != np.round(found)).any():
                raise DataError(f"{file}: {len(found)} values, not all whole numbers; this is no mask")
            values |= {int(value) for value in found}
    raw = tuple(sorted(values, key=lambda value: (value != 0, value)))
    cases = (Case(id=name, patient=_patient(path, folder), images=(path,), label=path) for name, path in masks.items())
    return Catalogue(
        name=folder.name,
        channels=(),
        labels=LabelSet(names=("background", *map(str, raw[1:])), values=raw),
        planar=planar,
        layout="masks",
        cases=in_order(cases),
        lists={},
        findings=(),
    )


def _patient(path: Path, folder: Path) -> str:
    """The folder a mask lies in, where there are folders, else the patient that its name tells."""
    inside = path.parent.relative_to(folder).as_posix()
    return patient_of(formats.stem(path)) if inside == "." else inside
