"""Which predicted mask belongs to which reference mask: by name, whatever the formats and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, open_catalogue
from fewmask.data.layouts.found import files_below, identifier, in_order, patient_of
from fewmask.errors import DataError
from fewmask.types import Case, LabelSet

PLAIN_VALUES = 256
"""More different values than this in a folder of masks are no classes."""


def masks_by_name(folder: Path) -> dict[str, Path]:
    """Case id -> mask file, at any depth of `folder`; the ids are those a scan of the same tree would give."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the masks")
    found: dict[str, Path] = {}
    for path in files_below(folder):
        if formats.is_image_file(path):
            name = identifier((path.parent.relative_to(folder) / formats.stem(path)).as_posix())
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
    elif (reference / "dataset.yaml").is_file():
        catalogue = open_catalogue(reference)
    elif predicted.keys() & (masks := masks_by_name(reference)).keys():
        catalogue = _plain(reference, masks, predicted)
    else:
        catalogue = open_catalogue(reference)
    if len(catalogue.labels) < 2:
        raise DataError(f"{catalogue.name}: the reference has no class besides the background; nothing can be scored")
    return catalogue


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
