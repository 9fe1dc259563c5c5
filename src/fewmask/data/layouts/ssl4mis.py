"""SSL4MIS: data/*.h5 volumes (z, y, x) with `image` and `label`, data/slices/*.h5 slices, *.list or *.txt lists."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from fewmask.data.folders import visible
from fewmask.data.layouts.found import Found, identifier, in_order
from fewmask.data.layouts.h5_cases import h5_case
from fewmask.data.layouts.lists import read_lists

SLICE = re.compile(r"_slice_?\d+$", re.IGNORECASE)


def recognise(folder: Path) -> bool:
    """Whether HDF5 files lie in data/, data/slices/, slices/ or the folder itself."""
    return bool(_files(folder))


def read(folder: Path) -> Found:
    """Volumes, and the slices of which there is no volume."""
    files = _files(folder)
    volumes = {path.stem for path in files if not SLICE.search(path.stem)}
    used = [path for path in files if path.stem in volumes or SLICE.sub("", path.stem) not in volumes]
    cases = in_order(h5_case(path, path.stem) for path in used)
    ids = {case.id for case in cases}

    def known(line: str) -> str | None:
        name = identifier(PurePosixPath(line).name.removesuffix(".h5"))
        return name if name in ids else None

    lists, findings = read_lists(folder, known)
    if len(used) < len(files):
        findings = (*findings, f"{len(files) - len(used)} slice files are left out: their volumes are there")
    return Found(cases=cases, lists=lists, findings=findings)


def _files(folder: Path) -> list[Path]:
    """The HDF5 files of the layout, volumes first."""
    folders = (folder / "data", folder / "data" / "slices", folder / "slices", folder)
    return [path for part in folders for path in visible(part) if path.suffix.lower() in (".h5", ".hdf5")]
