"""What lies in a folder that a user gave, without hidden files, the leavings of archives, and loops of links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fewmask.runs import written_here


def visible(folder: Path) -> list[Path]:
    """The entries of `folder` by name, without hidden files and the leavings of archives; [] if it is not there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def files_below(folder: Path, left_out: list[Path] | None = None) -> Iterator[Path]:
    """All visible files at any depth, sorted within each folder; links to folders are followed once.

    left_out: takes the folders below that fewmask wrote itself, whose files are not given; None: they are as others.
    """
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        if left_out is not None:
            own = [name for name in folders if written_here(Path(root) / name)]
            left_out += [Path(root) / name for name in own]
            folders[:] = [name for name in folders if name not in own]
        yield from (Path(root) / name for name in sorted(names) if not name.startswith("."))
