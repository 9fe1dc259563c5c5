"""The cache of prepared cases: plain .npy files that are memory-mapped, and JSON beside them.

<root>/<hash of the preparation>/
    images/<case>.npy                 (C, D, H, W) float16, not normalised
    cases/<case>.json                 geometry, statistics, sources; written last, so its presence means complete
    labels/<case>[.slices-...].npy    (D, H, W) class indices; only of labelled and val cases
    labels/<same>.npz, <same>.json    foreground positions; statistics and sources
    fingerprint-<hash>.json           intensity statistics of one set of training images
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fewmask.config import Settings
from fewmask.data.grid import Grid, Orientation
from fewmask.data.intensity import Fingerprint, Statistics, fit_fingerprint, normalise
from fewmask.errors import DataError
from fewmask.runs import atomic_write

VERSION = 1
"""Of the files' format; part of the key, so that another version's arrays are never read."""


class Preparation(Settings):
    """How a case becomes an array: the cache's key."""

    dims: Literal[2, 3]
    """Rank of the patches: 2 resizes every slice, 3 resamples the volume."""
    size: tuple[int, int] | None = None
    """2-D: every slice is resized to (H, W); None: as it is."""
    spacing_mm: tuple[float, float, float] | None = None
    """3-D: common voxel spacing (D, H, W); None: as it is."""
    zoom: float = Field(1.0, gt=0)
    """3-D: prepared voxels per voxel of that spacing, or per voxel as it is."""
    channels: int = Field(1, ge=1)
    """Channels that every image must have."""

    @property
    def key(self) -> str:
        """Name of the cache folder for these settings."""
        values = self.model_dump(mode="json")
        if self.zoom == 1:
            del values["zoom"]  # so that caches from before there was a zoom are found
        return _hash(json.dumps({"version": VERSION, **values}, sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One case on its prepared grid.

    image (C, D, H, W) float16 memmap, or float32 where half precision would lose contrast; the value in the image's own
    unit is `image * scale`.  label (D, H, W) uint8 (uint16 over 255 classes), its largest value marks ignored voxels;
    None without the right to one.  locations: foreground class -> (n, 3) positions, empty without a label.
    orientation leads from the native axes to the prepared ones; native and grid are the geometries before and after.
    """

    id: str
    image: np.ndarray
    scale: float
    label: np.ndarray | None
    locations: Mapping[int, np.ndarray]
    native: Grid
    orientation: Orientation
    grid: Grid
    statistics: Statistics

    def normalised(self, kind: str, fingerprint: Fingerprint) -> np.ndarray:
        """The whole image as a network sees it: (C, D, H, W) float32."""
        return normalise(self.image.astype(np.float32) * np.float32(self.scale), kind, self.statistics, fingerprint)


class Cache:
    """Opens prepared cases.  A label is opened only for the cases that the split labels: `labels` says which.

    root: the folder of one preparation; labels: case -> its labelled slices, None for the whole case.
    """

    def __init__(
        self, root: Path, preparation: Preparation, labels: Mapping[str, tuple[int, ...] | None] | None = None
    ) -> None:
        self.root = root
        self.preparation = preparation
        self.labels = dict(labels or {})

    def image_path(self, case_id: str) -> Path:
        return self.root / "images" / f"{case_id}.npy"

    def record_path(self, case_id: str) -> Path:
        return self.root / "cases" / f"{case_id}.json"

    def label_path(self, case_id: str) -> Path:
        """Of the label as the split has it: where only single slices are labelled, a file of its own."""
        slices = self.labels[case_id]
        mark = "" if slices is None else f".slices-{_hash('-'.join(map(str, sorted(slices))))}"
        return self.root / "labels" / f"{case_id}{mark}.npy"

    def has(self, case_id: str) -> bool:
        """Whether the case's image is prepared."""
        return self.record_path(case_id).is_file()

    def record(self, case_id: str) -> dict[str, Any]:
        """What cases/<id>.json holds.  Raises DataError where the case is not prepared."""
        try:
            return json.loads(self.record_path(case_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{case_id}: not in the cache {self.root}; run fewmask prepare with this split") from None

    def open(self, case_id: str) -> Prepared:
        """The prepared case, memory-mapped.  Raises DataError where it is not prepared."""
        record = self.record(case_id)
        label, locations = None, {}
        if case_id in self.labels:
            path = self.label_path(case_id)
            label = _mapped(path)
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
                locations = {int(name): file[name] for name in file.files}
        return Prepared(
            id=case_id,
            image=_mapped(self.image_path(case_id)),
            scale=record["scale"],
            label=label,
            locations=locations,
            native=Grid.from_json(record["native"]),
            orientation=Orientation.from_json(record["orientation"]),
            grid=Grid.from_json(record["grid"]),
            statistics=record["statistics"],
        )

    def normalised(self, case_id: str, kind: str, fingerprint: Fingerprint) -> np.ndarray:
        """The case's whole image as a network sees it: (C, D, H, W) float32."""
        return self.open(case_id).normalised(kind, fingerprint)

    def fingerprint(self, ids: Collection[str], kind: str) -> Fingerprint:
        """Intensity statistics of the training images `ids`; also written to fingerprint-<hash>.json, for people.

        `ct` looks at the foreground of those among them that are labelled.
        """
        ids = sorted(ids)
        cases = [self.record(case_id)["statistics"] for case_id in ids]
        foregrounds = []
        if kind == "ct":
            paths = [self.label_path(case_id).with_suffix(".json") for case_id in ids if case_id in self.labels]
            foregrounds = [json.loads(path.read_text(encoding="utf-8"))["statistics"] for path in paths]
        found = fit_fingerprint(kind, cases, foregrounds)
        atomic_write(self.root / f"fingerprint-{_hash(kind, *ids)}.json", json.dumps(found, indent=2) + "\n")
        return found


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: missing from the cache; run fewmask prepare with this split") from None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
