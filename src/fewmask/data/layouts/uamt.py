"""UA-MT's left atrium: <id>/mri_norm2.h5 (x, y, z) with `image` and `label`, train.list and others beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fewmask.data.folders import visible
from fewmask.data.hdf5 import UA_MT_NAME
from fewmask.data.layouts.found import Found, identifier, in_order
from fewmask.data.layouts.h5_cases import h5_case
from fewmask.data.layouts.lists import read_lists

DEPTH = 3
"""How many folders down the scans may lie."""


def recognise(folder: Path) -> bool:
    """Whether a folder below holds mri_norm2.h5."""
    return next(_files(folder, DEPTH), None) is not None


def read(folder: Path) -> Found:
    """One case a folder, named after it."""
    cases = in_order(h5_case(path, path.parent.name) for path in _files(folder, DEPTH))
    ids = {case.id for case in cases}

    def known(line: str) -> str | None:
        name = identifier(PurePosixPath(line.removesuffix("/" + UA_MT_NAME)).name)
        return name if name in ids else None

    lists, findings = read_lists(folder, known)
    return Found(cases=cases, lists=lists, findings=findings)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    for path in visible(folder):
        if path.is_dir() and (path / UA_MT_NAME).is_file():
            yield path / UA_MT_NAME
        elif path.is_dir() and depth > 1:
            yield from _files(path, depth - 1)
