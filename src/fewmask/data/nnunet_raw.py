"""A run as a data set in nnU-Net's raw format: true masks, and pseudo-labels whose doubtful voxels are ignored.

nnU-Net's loss leaves out voxels with the label `ignore` (the highest), so a model that someone already trains with it
learns from every image, and only from what fewmask is sure of.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.casetable import Catalogue
from fewmask.data.conform import prepared_geometry
from fewmask.data.grid import Grid, difference
from fewmask.data.layouts.found import some
from fewmask.errors import DataError, SettingsError
from fewmask.progress import track
from fewmask.runs import atomic_write, replacing
from fewmask.types import Case, LabelSet, Split

FOLDER = re.compile(r"Dataset\d{3}_[\w-]+")
UNCERTAINTY = "uncertainty"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: cases with true masks, with pseudo-labels, without any (imagesTs); cases left out for their
    pseudo-label; voxels ignored of all."""

    folder: Path
    labelled: int
    pseudo: int
    rejected: int
    held_out: int
    ignored: float


def export(
    catalogue: Catalogue,
    split: Split,
    masks: Path,
    out: Path,
    *,
    preparation: Preparation,
    doubt: float = 0.3,
    rejected: Collection[str] = (),
    quiet: bool = False,
) -> Exported:
    """Write `out`, which must be called DatasetNNN_Name.

    Labelled and val cases keep their own masks (and make splits_final.json), test cases go to imagesTs without any,
    unlabelled cases get the mask in `masks` with every voxel ignored whose entropy in masks/uncertainty is over
    `doubt` (0 to 1), but for the cases `rejected`, which are left out.  A case of which slices are labelled gets such a
    mask with these slices true, and where it is rejected nothing but these; preparation: whose slices they are.
    SettingsError for a name or a threshold that cannot be, DataError for a file that is missing.
    """
    if not FOLDER.fullmatch(out.name):
        raise SettingsError(f"--out {out}: nnU-Net wants a folder called DatasetNNN_Name, for example Dataset501_Heart")
    if not 0 < doubt <= 1:
        raise SettingsError(f"--doubt {doubt}: between 0 and 1")
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"--out {out}: is not empty; choose another")
    if catalogue.labels.ignore is not None and len(catalogue.labels) > 254:
        raise SettingsError(f"{len(catalogue.labels)} classes; nnU-Net's masks are written for 254 at most")
    whole = {case for case, slices in split.labelled_slices.items() if slices is None} | set(split.val)
    others = [case for case in (*split.labelled_slices, *split.unlabelled) if case not in whole]
    pseudo = [case for case in others if case not in rejected or case in split.labelled_slices]
    _require(catalogue, pseudo, masks)
    ignore = len(catalogue.labels)
    counts = {"voxels": 0, "ignored": 0}
    for name in track(
        [*sorted(whole), *pseudo, *split.test], "export", len(whole) + len(pseudo) + len(split.test), quiet=quiet
    ):
        case = catalogue.by_id[name]
        held_out = name in split.test
        _copy_channels(case, out / ("imagesTs" if held_out else "imagesTr"))
        if held_out:
            continue
        label, grid = _own(case, catalogue.labels) if name in whole else _trusted(case, catalogue.labels, masks, doubt)
        if name in rejected and name not in whole:  # nothing of it is trusted, its true slices stay
            label[:] = ignore
        if name not in whole and name in split.labelled_slices:
            _put_true(label, split.labelled_slices[name], case, catalogue.labels, preparation)
        counts["voxels"] += label.size
        counts["ignored"] += int((label == ignore).sum())
        like = case.images[0]
        formats.write_mask(out / "labelsTr" / f"{name}.nii.gz", label, grid, like)
    labels = {name: index for index, name in enumerate(catalogue.labels.names)}
    content = {
        "channel_names": {str(index): name for index, name in enumerate(catalogue.channels)},
        "labels": {**labels, "ignore": ignore},
        "numTraining": len(whole) + len(pseudo),
        "file_ending": ".nii.gz",
        "name": catalogue.name,
    }
    atomic_write(out / "dataset.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if split.val:
        train = sorted((whole | set(pseudo)) - set(split.val))
        atomic_write(
            out / "splits_final.json", json.dumps([{"train": train, "val": sorted(split.val)}], indent=2) + "\n"
        )
    return Exported(
        folder=out,
        labelled=len(whole),
        pseudo=len(pseudo),
        rejected=len(others) - len(pseudo),
        held_out=len(split.test),
        ignored=counts["ignored"] / max(1, counts["voxels"]),
    )


def _require(catalogue: Catalogue, pseudo: list[str], masks: Path) -> None:
    """DataError where a pseudo-label or its uncertainty is not there."""
    for kind, folder in (("mask", masks), ("uncertainty map", masks / UNCERTAINTY)):
        there = _files(folder)
        missing = [name for name in pseudo if name not in there]
        if missing:
            raise DataError(
                f"{folder}: no {kind} of {some(missing)}; write them with "
                "`fewmask predict RUN DATA --uncertainty --out DIR` and give --masks DIR"
            )


def _files(folder: Path) -> Mapping[str, Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {formats.stem(path): path for path in found if formats.is_image_file(path)}


def _own(case: Case, labels: LabelSet) -> tuple[np.ndarray, Grid]:
    """The case's true mask as class numbers, with the ignored value as the highest."""
    if case.label is None:
        raise DataError(f"{case.id}: labelled in the split, without a mask in the catalogue; split again")
    raw, grid = formats.read_mask(case.label, case.images[0], labels.colours)
    return _numbered(formats.encode_mask(raw, labels, str(case.label)), labels), grid


def _trusted(case: Case, labels: LabelSet, masks: Path, doubt: float) -> tuple[np.ndarray, Grid]:
    """The pseudo-label as class numbers, its doubtful voxels ignored."""
    path, doubts = _files(masks)[case.id], _files(masks / UNCERTAINTY)[case.id]
    raw, grid = formats.read_mask(path, case.images[0])
    entropy, other = formats.read_image(doubts)
    if apart := difference(grid, other):
        raise DataError(f"{doubts}: uncertainty and mask differ in {apart}; predict again")
    label = _numbered(formats.encode_mask(raw, labels, str(path)), labels)
    label[entropy[0] > doubt] = len(labels)
    return label, grid


def _put_true(label: np.ndarray, slices: Sequence[int], case: Case, labels: LabelSet, preparation: Preparation) -> None:
    """Write the true slices into the pseudo-label, where preparation keeps slices as they are (all but a resampled
    volume, whose slices lie between those of the file)."""
    own, grid = _own(case, labels)
    turn, prepared = prepared_geometry(grid, preparation)
    oriented = turn.apply(label)
    if prepared.shape[0] == len(oriented):
        oriented[list(slices)] = turn.apply(own)[list(slices)]


def _numbered(classes: np.ndarray, labels: LabelSet) -> np.ndarray:
    return np.where(classes == formats.IGNORE(classes.dtype), len(labels), classes).astype(classes.dtype)


def _copy_channels(case: Case, folder: Path) -> None:
    """CASE_0000.nii.gz and so on: copied where it is such a file, else written anew on the grid of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = all(formats.suffix(path) == ".nii.gz" for path in case.images) and not formats.regridded(case)
    if plain and (len(case.images) > 1 or formats.read_header(case.images[0]).channels == 1):
        for index, path in enumerate(case.images):
            with path.open("rb") as source, replacing(folder / f"{case.id}_{index:04d}.nii.gz") as target:
                shutil.copyfileobj(source, target)
        return
    image, grid = formats.read_case_image(case)
    for index, channel in enumerate(image):
        formats.write_volume(folder / f"{case.id}_{index:04d}.nii.gz", channel, grid, case.images[0])
