"""DICOM images: a path is a folder that holds one series, or any file of a series, which stands for all of it.

In Grid's order: D along the slices, H down the rows, W along the columns.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fewmask.data.dicom.instance import Instance, is_dicom, read_instance
from fewmask.data.dicom.pixels import pictures
from fewmask.data.dicom.segmentation import is_segmentation, read_segmentation, segment_names, segmentation_grid
from fewmask.data.dicom.series import Series, arranged, stands_alone
from fewmask.data.folders import files_below
from fewmask.data.grid import Grid, Header
from fewmask.errors import DataError

SUFFIXES = (".dcm", ".dicom", ".ima")
REMEMBERED = 64
"""Folders whose headers are kept in memory, so that a series is not parsed anew for each question."""

_folders: OrderedDict[tuple, _Folder] = OrderedDict()
_lock = threading.Lock()


def is_candidate(path: Path) -> bool:
    """Whether a file is DICOM by its name or, where that says nothing, by its content."""
    return path.name.lower().endswith(SUFFIXES) or is_dicom(path)


def read_header(path: Path) -> Header:
    """Channels and grid of the series, from the headers alone."""
    if path.is_file() and is_segmentation(path):
        return Header(channels=1, grid=segmentation_grid(path))
    series = series_at(path)
    return Header(channels=series.channels, grid=series.grid)


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """(C, D, H, W) float32, rescaled (Hounsfield units of CT), and its grid; colour gives three channels."""
    return read_series(series_at(path), path)


def read_series(series: Series, path: Path) -> tuple[np.ndarray, Grid]:
    """The volume of a series, as `read_image` gives it; `path` is named where something is wrong."""
    image: np.ndarray | None = None
    place = {(one.instance.path, one.frame.index): index for index, one in enumerate(series.slices)}
    for instance in dict.fromkeys(one.instance for one in series.slices):
        for frame, values in zip(instance.frames, pictures(instance), strict=True):
            channels = 1 if values.ndim == 2 else values.shape[2]
            if image is None:
                image = np.empty((channels, *series.grid.shape), np.float32)
            if values.shape[:2] != image.shape[2:] or channels != image.shape[0]:
                raise DataError(f"{instance.path}: decoded to {values.shape}, not as the series; take it out")
            image[:, place[instance.path, frame.index]] = values.reshape(*values.shape[:2], -1).transpose(2, 0, 1)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image contains NaN or infinite values; replace them")
    return image, series.grid


def read_mask(path: Path, like: Grid | None = None) -> tuple[np.ndarray, Grid]:
    """(D, H, W) values: the segments of a DICOM-SEG on the grid `like` of its image, else the values of a series."""
    if path.is_file() and is_segmentation(path):
        return read_segmentation(path, like)
    image, grid = read_image(path)
    if len(image) != 1:
        raise DataError(f"{path}: a mask in colours; save it as DICOM-SEG or NIfTI")
    return image[0], grid


def mask_names(path: Path) -> dict[str, int] | None:
    """Segment label -> value, of a DICOM-SEG; None of others."""
    return segment_names(path) if path.is_file() and is_segmentation(path) else None


def files_of(path: Path) -> list[Path]:
    """The files of the series that `path` stands for."""
    if path.is_file() and is_segmentation(path):
        return [path]
    return list(dict.fromkeys(one.instance.path for one in series_at(path).slices))


def series_at(path: Path) -> Series:
    """The series that `path` stands for; DataError where it is skipped, or a folder holds none or several."""
    if path.is_dir():
        folder = _read_folder(path, deep=True)
        usable = [series for series in folder.series if not series.skipped]
        if len(usable) == 1:
            return usable[0]
        if usable:
            names = ", ".join(series.first.path.name for series in usable[:3])
            raise DataError(f"{path}: {len(usable)} series in one folder; give a file of the one you mean ({names})")
        unreadable = folder.broken[0][1] if folder.broken else "no DICOM image in it"
        reason = next((series.skipped for series in folder.series), unreadable)
        raise DataError(f"{path}: {reason}; export the series again")
    own = read_instance(path)  # says what is wrong with it
    if own.is_segmentation:
        raise DataError(f"{path}: a segmentation, no image; give the folder of the image")
    if stands_alone(own):
        (series,) = arranged([own])
    else:
        found = _read_folder(path.parent, deep=False).by_name.get(path.name)
        if found is None:
            raise DataError(f"{path}: a hidden file, which belongs to no series; rename it")
        series = found
    if series.skipped:
        raise DataError(f"{path}: {series.skipped}; export the series again, or take it out")
    return series


def instances_below(folder: Path, deep: bool) -> tuple[list[Instance], list[tuple[Path, str]]]:
    """The DICOM files in `folder` (deep: at any depth), read, and those that cannot be, with the reason."""
    found = _read_folder(folder, deep)
    return found.instances, found.broken


@dataclass(frozen=True)
class _Folder:
    """What the DICOM files of a folder hold; arranged into series when first asked."""

    instances: list[Instance]
    broken: list[tuple[Path, str]]

    @cached_property
    def series(self) -> list[Series]:
        return arranged(self.instances)

    @cached_property
    def by_name(self) -> dict[str, Series]:
        return {one.instance.path.name: series for series in self.series for one in series.slices}


def _read_folder(folder: Path, deep: bool) -> _Folder:
    paths = files_below(folder) if deep else sorted(path for path in folder.iterdir() if path.is_file())
    files = [path for path in paths if not path.name.startswith(".")]
    status = [path.stat() for path in files]
    key = (
        folder.absolute(),
        deep,
        tuple((path.name, s.st_mtime_ns, s.st_size) for path, s in zip(files, status, strict=True)),
    )
    with _lock:
        if key in _folders:
            _folders.move_to_end(key)
            return _folders[key]
        found = _Folder([], [])
        for path in files:
            if not is_candidate(path):
                continue
            try:
                found.instances.append(read_instance(path))
            except DataError as error:
                found.broken.append((path, str(error).removeprefix(f"{path}: ")))
        _folders[key] = found
        while len(_folders) > REMEMBERED:
            _folders.popitem(last=False)
        return found
