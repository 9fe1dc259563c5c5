"""Which of two folders holds the masks, told by what is in the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewmask.data.formats import read_mask, stem
from fewmask.data.labels import MAX_UNNAMED
from fewmask.errors import DataError

SAMPLES = 4


def mask_folder(files: Sequence[Path], folder: Path) -> Path | None:
    """The one of two folders in `folder` that holds masks of the other's images; None where there are no such two.

    DataError where both could be.
    """
    tops: dict[Path, dict[str, Path]] = {}
    for path in files:
        parts = path.relative_to(folder).parts
        name = "/".join((*parts[1:-1], stem(path)))
        tops.setdefault(folder / parts[0], {})[name] = path
    if len(tops) != 2 or not all(top.is_dir() for top in tops):
        return None
    first, second = tops
    shared = sorted(tops[first].keys() & tops[second].keys())
    if 2 * len(shared) < min(len(tops[first]), len(tops[second])):
        return None
    sample = shared[:: max(1, len(shared) // SAMPLES)][:SAMPLES]
    values = {top: max(_values(tops[top][name]) for name in sample) for top in tops}
    masks = [top for top in tops if values[top] <= MAX_UNNAMED]
    if len(masks) == 2:
        raise DataError(f"{folder}: '{first.name}' and '{second.name}' could both be masks; call one folder 'masks'")
    return masks[0] if masks else None


def _values(path: Path) -> int:
    """How many different values the file has; as many as an image where it cannot be read as a mask."""
    try:
        mask, _ = read_mask(path)
    except DataError:
        return MAX_UNNAMED + 1
    return len(np.unique(mask))
