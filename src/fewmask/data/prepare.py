"""Raw case -> cached arrays: oriented, resized or resampled, not yet normalised, so that one cache serves every budget.

Only the masks of labelled and val cases are opened.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewmask.data import formats, intensity
from fewmask.data.cache import Cache, Preparation
from fewmask.data.conform import (
    compact,
    foreground_locations,
    labelled_only,
    prepare_image,
    prepare_label,
    prepared_geometry,
)
from fewmask.data.grid import Grid, Orientation
from fewmask.device import cores
from fewmask.errors import DataError, OutOfMemory
from fewmask.memory import available_bytes
from fewmask.progress import say, track
from fewmask.runs import atomic_write, replacing, writing
from fewmask.types import Case, LabelSet, Split

if TYPE_CHECKING:
    from fewmask.data.catalogue import Catalogue

SPARE_BYTES = 64 * 2**20
"""Disk that must stay free beside the cache, for the log and small files."""

STALE_SECONDS = 24 * 3600
"""Age at which a temporary file is a killed process's."""


def prepare(
    catalogue: Catalogue,
    split: Split,
    preparation: Preparation,
    root: Path,
    workers: int | None = None,
    quiet: bool = False,
) -> Cache:
    """Prepare every case of the split into root/<key>; what is there and whose source is unchanged is kept.

    workers: threads (reading and resizing release the interpreter); None: one a core as far as
    memory goes, at most 8.  Raises DataError for
    a broken file and OutOfMemory where the disk is too small.
    """
    labels: dict[str, tuple[int, ...] | None] = {**split.labelled_slices, **dict.fromkeys(split.val)}
    folder = root / preparation.key
    cache = Cache(folder, preparation, labels)
    ids = dict.fromkeys([*split.labelled_slices, *split.unlabelled, *split.val, *split.test])
    missing = [case_id for case_id in ids if case_id not in catalogue.by_id]
    if missing:
        raise DataError(f"case '{missing[0]}' of the split is not in the catalogue; split again")
    _check_slices(catalogue, split, preparation)
    _make_folders(folder)
    cases = [catalogue.by_id[case_id] for case_id in ids]
    due = [case for case in cases if not _image_current(case, cache) or not _label_current(case, cache, catalogue)]
    need, largest = _needs(due, preparation)
    _check_disk(need, folder)
    say(f"prepare: {len(due)} of {len(cases)} cases, {need / 1e9:.2f} GB in {folder}", quiet or not due)
    atomic_write(folder / "preparation.json", preparation.model_dump_json(indent=2) + "\n")
    workers = workers or _workers(largest)
    for _ in track(_in_threads(due, cache, catalogue, workers), "prepare", len(due), quiet=quiet):
        pass
    return cache


def _in_threads(due: list[Case], cache: Cache, catalogue: Catalogue, workers: int) -> Iterator[None]:
    """Prepare all; the first error stops what has not begun."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield from executor.map(lambda case: _prepare_case(case, cache, catalogue.labels), due)
    except MemoryError:
        raise OutOfMemory("prepare: memory is full; close other programs or crop the largest images") from None
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
    raw, mask_grid = formats.read_mask(case.label, case.images[0], labels.colours)
    if mask_grid.shape != grid.shape:
        raise DataError(
            f"{case.id}: mask {mask_grid.shape} and image {grid.shape} differ ({case.label}); resample the mask first"
        )
    label = prepare_label(formats.encode_mask(raw, labels, str(case.label)), turn, prepared_grid)
    label = labelled_only(label, cache.labels[case.id])
    path = cache.label_path(case.id)
    locations = foreground_locations(label, len(labels), case.id)
    foreground = (label > 0) & (label != formats.IGNORE(label.dtype))
    _save_array(path, label)
    _save_array(path.with_suffix(".npz"), {str(value): positions for value, positions in locations.items()})
    record = {**_label_sources(case, labels), "statistics": intensity.foreground_statistics(image, foreground)}
    atomic_write(path.with_suffix(".json"), json.dumps(record) + "\n")


def _save_array(path: Path, content: np.ndarray | dict[str, np.ndarray]) -> None:
    """Write .npy or .npz whole or not at all."""
    with replacing(path) as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)


def _sources(paths: tuple[Path, ...]) -> list[dict[str, Any]]:
    """What tells that a file changed."""
    found = []
    for path in paths:
        try:
            size, modified_ns = formats.state(path)
        except OSError as error:
            raise DataError(f"{path}: {(error.strerror or 'not readable').lower()}; scan the data again") from None
        found.append({"path": str(path.absolute()), "bytes": size, "modified_ns": modified_ns})
    return found


def _label_sources(case: Case, labels: LabelSet) -> dict[str, Any]:
    told = {"sources": _sources((case.label,)), "values": list(labels.values), "ignore": labels.ignore}
    if labels.merged:
        told["merged"] = sorted(map(list, labels.merged.items()))
    if labels.colours:
        told["colours"] = sorted([*colour, value] for colour, value in labels.colours.items())
    return told


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


def _make_folders(folder: Path) -> None:
    """The cache's folders, without what killed processes left in them."""
    with writing(folder):
        for name in ("images", "labels", "cases"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*/.*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


def _check_slices(catalogue: Catalogue, split: Split, preparation: Preparation) -> None:
    """Raises DataError where a labelled slice does not exist; headers alone tell."""
    for case_id, slices in split.labelled_slices.items():
        if slices is not None:
            native = formats.read_header(catalogue.by_id[case_id].images[0]).grid
            depth = prepared_geometry(native, preparation)[1].shape[0]
            if max(slices) >= depth:
                raise DataError(f"{case_id}:{max(slices)}: the case has slices 0 to {depth - 1}")


def _needs(due: list[Case], preparation: Preparation) -> tuple[int, int]:
    """Bytes on disk that the cases will take, and in memory while the largest of them is prepared."""
    disk = memory = 0
    for case in due:
        native = formats.read_header(case.images[0]).grid
        _, grid = prepared_geometry(native, preparation)
        disk += prod(grid.shape) * (2 * preparation.channels + 1)
        memory = max(memory, preparation.channels * (16 * prod(native.shape) + 16 * prod(grid.shape)))
    return disk, memory


def _workers(largest: int) -> int:
    """As many threads as cores, as far as each finds memory for the largest case."""
    free = available_bytes()
    return max(1, min(8, cores(), 8 if free is None else free // max(largest, 1)))


def _check_disk(need: int, folder: Path) -> None:
    """Raises OutOfMemory where the disk has less than `need` bytes."""
    free = shutil.disk_usage(folder).free
    if need + SPARE_BYTES > free:
        raise OutOfMemory(
            f"{folder}: the cache needs {need / 1e6:.0f} MB and leaves {SPARE_BYTES / 1e6:.0f} MB for the run, "
            f"the disk has {free / 1e6:.0f} MB free; free some or choose another folder"
        )
