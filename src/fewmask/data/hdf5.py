"""HDF5 files of SSL4MIS (z, y, x) and UA-MT (x, y, z): datasets `image` and `label`, no geometry.

A file is untrusted: links that leave it, virtual datasets and pickled objects are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from fewmask.data.claims import MAX_VALUES, can_hold
from fewmask.data.grid import Grid, Header
from fewmask.errors import DataError

UA_MT_NAME = "mri_norm2.h5"
"""UA-MT stores its volumes as (x, y, z) under this file name; everything else is (z, y, x)."""

FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
"""What h5py raises while a damaged file is walked through."""


def read_header(path: Path) -> Header:
    """The shape of `image`; neither its values nor `label` are touched."""
    with _dataset(path, "image") as stored:
        return Header(channels=1, grid=_grid(path, stored))


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """`image` as (1, D, H, W) float32; `label` is not touched."""
    values, grid = _read(path, "image")
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(values, dtype=np.float32)[None]
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image contains NaN or infinite values; replace them")
    return image, grid


def read_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """`label` as (D, H, W) in the stored type."""
    return _read(path, "label")


def has_mask(path: Path) -> bool:
    """Whether the file has an entry `label`; the dataset itself is not opened."""
    with _opened(path) as file:
        return "label" in file.keys()  # noqa: SIM118 - `in file` would resolve the link


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise DataError(f"{path}: not an HDF5 file, or cut short; copy it again") from None
    try:
        with file:
            yield file
    except DataError:
        raise
    except FAULTS as error:
        raise DataError(f"{path}: damaged ({' '.join(str(error).split())[:120]}); copy it again") from None


@contextmanager
def _dataset(path: Path, key: str) -> Iterator[h5py.Dataset]:
    """The checked dataset `key` (2-D or 3-D, plain numbers, stored in this very file)."""
    with _opened(path) as file:
        keys = list(file.keys())
        if key not in keys:
            raise DataError(f"{path}: no dataset '{key}'; found {', '.join(keys) or 'none'}")
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):
            raise DataError(f"{path}: '{key}' is a link; store the data in the file itself")
        stored = file[key]
        if not isinstance(stored, h5py.Dataset):
            raise DataError(f"{path}: '{key}' is a group; expected a dataset of 2 or 3 axes")
        if stored.is_virtual or stored.external:
            raise DataError(f"{path}: '{key}' points to other files; store the data in the file itself")
        if stored.dtype.kind not in "fiub":
            raise DataError(f"{path}: '{key}' holds {stored.dtype}; expected numbers")
        if stored.ndim not in (2, 3) or 0 in stored.shape:
            raise DataError(f"{path}: '{key}' has shape {stored.shape}; expected (H, W) or three axes, none empty")
        if stored.size > MAX_VALUES or not can_hold(stored.id.get_storage_size(), stored.nbytes):
            raise DataError(f"{path}: '{key}' claims shape {stored.shape}, more than the file can hold; write it again")
        yield stored


def _grid(path: Path, stored: h5py.Dataset) -> Grid:
    shape = stored.shape[::-1] if _reversed(path, stored) else stored.shape
    return Grid(shape=(1, *shape) if len(shape) == 2 else shape, planar=len(shape) == 2)


def _reversed(path: Path, stored: h5py.Dataset) -> bool:
    return path.name == UA_MT_NAME and stored.ndim == 3


def _read(path: Path, key: str) -> tuple[np.ndarray, Grid]:
    with _dataset(path, key) as stored:
        grid = _grid(path, stored)
        try:
            values = stored[()]
        except OSError:
            raise DataError(f"{path}: '{key}' cannot be read, the file is damaged; copy it again") from None
        if _reversed(path, stored):
            values = values.transpose()
    return np.ascontiguousarray(values.reshape(grid.shape)), grid
