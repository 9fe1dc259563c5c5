"""Catalogues: opened if there is one, made by a scan if there is none."""

from __future__ import annotations

from pathlib import Path

from fewmask.data.casetable import Catalogue, is_catalogue, read_catalogue, was_scanned, write_catalogue
from fewmask.data.scan import check, scan

__all__ = ["Catalogue", "is_catalogue", "open_catalogue", "read_catalogue", "write_catalogue"]


def open_catalogue(path: Path, layout: str | None = None, quiet: bool = False) -> Catalogue:
    """The catalogue in folder `path`, or that of a scan of the data there.

    A cases.csv without the names of the classes is scanned, too.  Of a catalogue that no scan wrote every file is
    checked, masks included.
    """
    if layout is None and is_catalogue(path):
        catalogue = read_catalogue(path)
        return catalogue if was_scanned(path) else check(catalogue, quiet=quiet)
    return scan(path, layout=layout, quiet=quiet)
