"""Data sets by the names under which they are published: how each official download lies on disk.

A new one is a file with a function (folder -> Found), and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fewmask.config import nearest
from fewmask.data.casetable import Catalogue
from fewmask.data.datasets import acdc, brats, endoscapes, la2018, mosxav, mscmrseg, pancreas_ct, task
from fewmask.data.layouts.found import Found
from fewmask.data.scan import checked_catalogue
from fewmask.errors import DataError, SettingsError

DATASETS: dict[str, Callable[[Path], Found]] = {
    "acdc": acdc.read,
    "mscmrseg": mscmrseg.read,
    "decathlon": task.read,
    "la2018": la2018.read,
    "brats2019": brats.read_2019,
    "brats2020": brats.read_2020,
    "pancreas-ct": pancreas_ct.read,
    "endoscapes": endoscapes.read,
    "mosxav": mosxav.read,
}
"""Name -> reader of the official download."""


def convert(name: str, source: Path, journal: Path | None = None, quiet: bool = False) -> Catalogue:
    """The catalogue of an official download, every file checked.  Images stay where they are.

    SettingsError for an unknown name; DataError where the folder does not look like the download, or a file is broken.
    """
    if name not in DATASETS:
        hint = nearest(name, DATASETS) or f"; known: {', '.join(DATASETS)}, nnunet"
        raise SettingsError(f"unknown data set '{name}'{hint}")
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; give the folder of the unpacked official download")
    return checked_catalogue(name, DATASETS[name](source), source, quiet=quiet, journal=journal)
