"""Raw case -> cached arrays: oriented, resized or resampled, not yet normalised, so that one cache serves every budget.

Only the masks of labelled and val cases are opened.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewmask.data import formats, intensity
from fewmask.data.cache import Cache, Preparation
from fewmask.data.grid import Grid, Orientation, orientation, resize_image, resize_label
from fewmask.errors import DataError, OutOfMemory
from fewmask.progress import say, track
from fewmask.runs import atomic_write
from fewmask.seeding import generator
from fewmask.types import Case, LabelSet, Split

if TYPE_CHECKING:
    from fewmask.data.catalogue import Catalogue

LOCATIONS = 10_000
"""Most positions kept per class: nnU-Net's number."""
SPARE_BYTES = 64 * 2**20
"""Disk that must stay free beside the cache, for the log and small files."""


def prepared_geometry(grid: Grid, preparation: Preparation) -> tuple[Orientation, Grid]:
    """Native grid -> the orientation and the prepared grid.  Raises DataError where a spacing is needed and missing."""
    turn = orientation(grid, slices=preparation.dims == 2)
    oriented = turn.apply_grid(grid)
    shape = oriented.shape
    if preparation.dims == 2 and preparation.size is not None:
        shape = (shape[0], *preparation.size)
    elif preparation.dims == 3 and preparation.spacing_mm is not None:
        if oriented.spacing_mm is None:
            raise DataError(
                f"image without spacing, but the plan resamples to {preparation.spacing_mm} mm; "
                "set plan.spacing_mm=null to keep the voxels as they are"
            )
        shape = tuple(
            max(1, round(count * own / common))
            for count, own, common in zip(shape, oriented.spacing_mm, preparation.spacing_mm, strict=True)
        )
    return turn, _resized_grid(oriented, shape)


def _resized_grid(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """`grid` with other voxel counts over the same extent; half-pixel centres."""
    if shape == grid.shape:
        return grid
    factor = np.array(grid.shape) / np.array(shape)
    spacing, affine = grid.spacing_mm, grid.affine
    if spacing is not None:
        spacing = tuple(float(value) for value in np.array(spacing) * factor)
    if affine is not None:
        step = np.diag([*factor, 1.0])
        step[:3, 3] = (factor - 1) / 2
        affine = affine @ step
    return replace(grid, shape=shape, spacing_mm=spacing, affine=affine)


def prepare_image(image: np.ndarray, grid: Grid, preparation: Preparation) -> tuple[np.ndarray, Orientation, Grid]:
    """Native image (C, D, H, W) -> the same on the prepared grid (float32, raw values), its orientation, its grid."""
    if image.shape[0] != preparation.channels:
        raise DataError(f"{image.shape[0]} channels where {preparation.channels} are expected; give the same channels")
    turn, prepared = prepared_geometry(grid, preparation)
    return resize_image(turn.apply(image), prepared.shape), turn, prepared


def prepare_label(label: np.ndarray, turn: Orientation, prepared: Grid) -> np.ndarray:
    """Native class indices (D, H, W) -> the same on the prepared grid, nearest."""
    return np.ascontiguousarray(resize_label(turn.apply(label), prepared.shape))


def compact(image: np.ndarray) -> tuple[np.ndarray, float]:
    """float32 image -> (stored, scale) with image = stored * scale.

    float16 with a power of two as scale, which is exact, unless that loses over 1 % of the deviation (a small contrast
    on a large offset): then float32.
    """
    largest = float(np.abs(image).max(initial=0.0))
    scale = 1.0
    if largest > 32768 or 0 < largest < 1:
        scale = float(2.0 ** (np.ceil(np.log2(largest)) - 15))
    stored = (image / np.float32(scale)).astype(np.float16)
    for channel, kept in zip(image, stored, strict=True):
        loss = max(float(np.abs(kept[z].astype(np.float32) * scale - channel[z]).max()) for z in range(len(channel)))
        if loss > 0.01 * float(channel.std(dtype=np.float64)) and loss > 0:
            return image.astype(np.float32, copy=False), 1.0
    return stored, scale


def foreground_locations(label: np.ndarray, classes: int, case_id: str) -> dict[int, np.ndarray]:
    """Foreground class -> (n, 3) int32 positions in label (D, H, W), at most LOCATIONS drawn at random, in order."""
    found = {}
    for value in range(1, classes):
        flat = np.flatnonzero(label == value)
        if len(flat) > LOCATIONS:
            flat = np.sort(generator("locations", case_id, value).choice(flat, LOCATIONS, replace=False))
        found[value] = np.stack(np.unravel_index(flat, label.shape), axis=1).astype(np.int32)
    return found


def prepare(
    catalogue: Catalogue,
    split: Split,
    preparation: Preparation,
    root: Path,
    workers: int | None = None,
    quiet: bool = False,
) -> Cache:
    """Prepare every case of the split into root/<key>; what is there and whose source is unchanged is kept.

    workers: threads (reading and resizing release the interpreter); None: one a core, at most 8.  Raises DataError for
    a broken file and OutOfMemory where the disk is too small.
    """
    labels: dict[str, tuple[int, ...] | None] = {**split.labelled_slices, **dict.fromkeys(split.val)}
    folder = root / preparation.key
    cache = Cache(folder, preparation, labels)
    for name in ("images", "labels", "cases"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids = dict.fromkeys([*split.labelled_slices, *split.unlabelled, *split.val, *split.test])
    missing = [case_id for case_id in ids if case_id not in catalogue.by_id]
    if missing:
        raise DataError(f"case '{missing[0]}' of the split is not in the catalogue; split again")
    cases = [catalogue.by_id[case_id] for case_id in ids]
    due = [case for case in cases if not _image_current(case, cache) or not _label_current(case, cache, catalogue)]
    need = _check_disk(due, preparation, folder)
    say(f"prepare: {len(due)} of {len(cases)} cases, {need / 1e9:.2f} GB in {folder}", quiet or not due)
    atomic_write(folder / "preparation.json", preparation.model_dump_json(indent=2) + "\n")
    for _ in track(_in_threads(due, cache, catalogue, workers), "prepare", len(due), quiet=quiet):
        pass
    return cache


def _in_threads(due: list[Case], cache: Cache, catalogue: Catalogue, workers: int | None) -> Iterator[None]:
    """Prepare all; the first error stops what has not begun."""
    executor = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))
    try:
        yield from executor.map(lambda case: _prepare_case(case, cache, catalogue.labels), due)
    except MemoryError:
        raise OutOfMemory("prepare: memory is full; lower --workers") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfMemory(f"{cache.root}: the disk is full; free some or choose another folder") from None
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _prepare_case(case: Case, cache: Cache, labels: LabelSet) -> None:
    try:
        image, grid = formats.read_case_image(case)
        prepared, turn, prepared_grid = prepare_image(image, grid, cache.preparation)
    except DataError as error:
        message = str(error)
        raise DataError(message if case.id in message else f"{case.id}: {message}") from None
    if case.id in cache.labels:
        _write_label(case, cache, labels, grid, turn, prepared, prepared_grid)
    stored, scale = compact(prepared)
    _save_array(cache.image_path(case.id), stored)
    record = {
        "case": case.id,
        "sources": _sources(case.images),
        "native": grid.to_json(),
        "orientation": turn.to_json(),
        "grid": prepared_grid.to_json(),
        "scale": scale,
        "statistics": intensity.case_statistics(prepared),
    }
    atomic_write(cache.record_path(case.id), json.dumps(record, indent=2) + "\n")


def _write_label(
    case: Case,
    cache: Cache,
    labels: LabelSet,
    grid: Grid,
    turn: Orientation,
    image: np.ndarray,
    prepared_grid: Grid,
) -> None:
    if case.label is None:
        raise DataError(f"{case.id}: the split wants its mask, but the catalogue has none; split again")
    raw, mask_grid = formats.read_mask(case.label)
    if mask_grid.shape != grid.shape:
        raise DataError(
            f"{case.id}: mask {mask_grid.shape} and image {grid.shape} differ ({case.label}); resample the mask first"
        )
    label = prepare_label(formats.encode_mask(raw, labels, str(case.label)), turn, prepared_grid)
    slices = cache.labels[case.id]
    if slices is not None:
        if max(slices) >= len(label):
            raise DataError(f"{case.id}:{max(slices)}: the case has slices 0 to {len(label) - 1}")
        others = np.setdiff1d(np.arange(len(label)), slices)
        label[others] = formats.IGNORE(label.dtype)
    path = cache.label_path(case.id)
    locations = foreground_locations(label, len(labels), case.id)
    foreground = (label > 0) & (label != formats.IGNORE(label.dtype))
    _save_array(path, label)
    _save_array(path.with_suffix(".npz"), {str(value): positions for value, positions in locations.items()})
    record = {**_label_sources(case, labels), "statistics": intensity.foreground_statistics(image, foreground)}
    atomic_write(path.with_suffix(".json"), json.dumps(record) + "\n")


def _save_array(path: Path, content: np.ndarray | dict[str, np.ndarray]) -> None:
    """Write .npy or .npz whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if isinstance(content, dict):
                np.savez(file, **content)
            else:
                np.save(file, content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sources(paths: tuple[Path, ...]) -> list[dict[str, Any]]:
    """What tells that a file changed."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path}: {(error.strerror or 'not readable').lower()}; scan the data again") from None
        found.append({"path": str(path.absolute()), "bytes": status.st_size, "modified_ns": status.st_mtime_ns})
    return found


def _label_sources(case: Case, labels: LabelSet) -> dict[str, Any]:
    return {"sources": _sources((case.label,)), "values": list(labels.values), "ignore": labels.ignore}


def _image_current(case: Case, cache: Cache) -> bool:
    if not cache.has(case.id) or not cache.image_path(case.id).is_file():
        return False
    return cache.record(case.id)["sources"] == _sources(case.images)


def _label_current(case: Case, cache: Cache, catalogue: Catalogue) -> bool:
    if case.id not in cache.labels:
        return True
    path = cache.label_path(case.id).with_suffix(".json")
    if case.label is None or not path.is_file():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    return record.items() >= _label_sources(case, catalogue.labels).items()


def _check_disk(due: list[Case], preparation: Preparation, folder: Path) -> int:
    """Bytes that the cases need.  Raises OutOfMemory where the disk has less."""
    need = 0
    for case in due:
        _, grid = prepared_geometry(formats.read_header(case.images[0]).grid, preparation)
        need += int(np.prod(grid.shape)) * (2 * preparation.channels + 1)
    free = shutil.disk_usage(folder).free
    if need + SPARE_BYTES > free:
        raise OutOfMemory(
            f"{folder}: the cache needs {need / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free; "
            "free some or choose another folder"
        )
    return need
