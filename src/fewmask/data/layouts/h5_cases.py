"""Cases whose image and mask lie in one HDF5 file."""

from __future__ import annotations

from pathlib import Path

from fewmask.data.hdf5 import has_mask
from fewmask.data.layouts.found import identifier, patient_of
from fewmask.errors import DataError
from fewmask.types import Case


def h5_case(path: Path, name: str) -> Case:
    """The case in `path`; its label is the same file where that has a mask."""
    return Case(id=identifier(name), patient=patient_of(name), images=(path,), label=path if _masked(path) else None)


def _masked(path: Path) -> bool:
    try:
        return has_mask(path)
    except DataError:
        return False  # reading the image will say what is wrong with the file
