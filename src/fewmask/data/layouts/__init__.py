"""The folder layouts that fewmask knows.  A new one is a file with `recognise` and `read`, and a line here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from fewmask.config import nearest
from fewmask.data.folders import visible
from fewmask.data.layouts import (
    decathlon,
    dicom_tree,
    endoscapes,
    endoscapes_all,
    image_pairs,
    mosxav,
    nnunet,
    ssl4mis,
    table,
    uamt,
)
from fewmask.data.layouts.found import Found
from fewmask.data.layouts.naming import Kind, folder_word
from fewmask.errors import DataError, SettingsError
from fewmask.runs import written_here

LAYOUTS: dict[str, ModuleType] = {
    "table": table,
    "decathlon": decathlon,
    "nnunet": nnunet,
    "ssl4mis": ssl4mis,
    "uamt": uamt,
    "dicom": dicom_tree,
    "mosxav": mosxav,
    "endoscapes": endoscapes,
    "endoscapes_all": endoscapes_all,
    "image_pairs": image_pairs,
}
"""Name -> module; the first that recognises a folder reads it."""

__all__ = ["LAYOUTS", "Found", "find_cases"]


def find_cases(folder: Path, layout: str | None = None) -> tuple[str, Path, Found]:
    """The layout's name, the folder it starts in and its cases; `layout` None: the first that recognises the folder.

    A folder around the data set's folder is entered.  SettingsError for an unknown layout, DataError where the
    folder is not there, empty, or nothing known.
    """
    if layout is not None and layout not in LAYOUTS:
        raise SettingsError(f"unknown layout '{layout}'{nearest(layout, LAYOUTS)}")
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; check the path")
    if not folder.is_dir():
        raise DataError(f"{folder}: a file; give the folder that holds images and masks")
    start = folder
    while True:
        entries = [entry for entry in visible(start) if not written_here(entry)]
        if not entries:
            raise DataError(f"{start}: an empty folder; put images into it, or check the path")
        for name in [layout] if layout else LAYOUTS:
            if LAYOUTS[name].recognise(start) and not (name == "image_pairs" and _is_wrapper(entries)):
                return name, start, LAYOUTS[name].read(start)
        if len(entries) > 1 or not entries[0].is_dir():
            break
        start = entries[0]
    kinds = ".nii, .nii.gz, .nrrd, .mha, .dcm, .png, .jpg, .tif, .bmp, .h5"
    wanted = f"layout '{layout}'" if layout else f"image files ({kinds})"
    raise DataError(f"{folder}: no {wanted} found; see docs/how-to/own-data.md for what a folder may look like")


def _is_wrapper(entries: list[Path]) -> bool:
    """Whether there is one folder alone, with a name that says nothing."""
    return len(entries) == 1 and entries[0].is_dir() and folder_word(entries[0].name).kind is Kind.UNKNOWN
