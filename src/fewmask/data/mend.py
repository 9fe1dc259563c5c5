"""What can be mended in a mask without guessing: its place, its values, their names.

Each function says what was wrong and, behind a colon, what it did.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import distance_transform_edt

from fewmask.data.grid import Grid, difference
from fewmask.data.labels import LARGEST, MAX_UNNAMED
from fewmask.data.resample import coverage, resample_mask
from fewmask.errors import DataError

MIN_COVERAGE = 0.5
"""Share of the image that a mask's grid must cover to be believed."""
MIN_KEPT = 0.5
"""Share of a mask's volume that must arrive on the image."""
TWO_ENDED = 0.9
"""Share of voxels near 0 or 255 that makes a smeared mask one of two values."""
NEAR = 20
SOUND = 0.9
"""Share of voxels with whole values that makes the others leavings of an interpolation."""


def placed(mask: np.ndarray, own: Grid, image: Grid) -> tuple[np.ndarray, str]:
    """The mask on the grid of its image, and what was done; DataError where no rule gives it a place."""
    apart = difference(own, image)
    if not apart:
        return mask, ""
    if own.affine is not None and image.affine is not None and coverage(own, image) >= MIN_COVERAGE:
        moved = resample_mask(mask, own, image)
        before = np.count_nonzero(mask) * abs(np.linalg.det(own.affine[:3, :3]))
        after = np.count_nonzero(moved) * abs(np.linalg.det(image.affine[:3, :3]))
        if after >= MIN_KEPT * before:
            return moved, f"differed in {apart}: resampled onto the image, nearest neighbour"
    if own.shape == image.shape:
        return mask, f"differed in {apart}: same shape, so its own place was dropped for that of the image; look at it"
    raise DataError(f"mask and image differ in {apart}, and the mask does not say where it lies")


def valued(mask: np.ndarray, named: bool, jpeg: bool) -> tuple[np.ndarray, str]:
    """The mask with whole values, and what was done; DataError where its values cannot be classes.

    named: the data set names its classes, so that many values are no fault; jpeg: the file was compressed with losses.
    """
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise DataError("holds NaN or infinity")
    values = np.unique(mask)
    whole = values == np.rint(values)
    if whole.all() and values[0] < 0:
        raise DataError(f"holds {values[0]:g}; classes are 0 to {LARGEST}")
    if whole.all() and (len(values) <= MAX_UNNAMED or named) and not (jpeg and not set(values.tolist()) <= {0, 255}):
        return mask, ""
    ends = (np.abs(mask) <= NEAR) | (np.abs(mask - 255.0) <= NEAR)
    if values[-1] > 128 and ends.mean() >= TWO_ENDED:
        return np.where(mask >= 128, 255, 0).astype(np.uint8), f"{len(values)} values, smeared: cut at 128 to 0 and 255"
    if not whole.all() and values[0] >= 0 and values[-1] <= 1:
        return (mask >= 0.5).astype(np.uint8), "fractions between 0 and 1: cut at one half"
    sound = mask == np.rint(mask)
    if not whole.all() and values[0] >= 0 and values[-1] <= LARGEST and sound.mean() >= SOUND:
        nearest = distance_transform_edt(~sound, return_distances=False, return_indices=True)
        kept = mask[tuple(nearest)].astype(np.uint8 if values[-1] < 256 else np.uint16)
        return kept, f"interpolated voxels took the value of the nearest whole one: {int((~sound).sum())}"
    raise DataError(f"{len(values)} values from {values[0]:g} to {values[-1]:g} cannot be classes")


def renumbered(mask: np.ndarray, names: Mapping[str, int], common: dict[str, int]) -> tuple[np.ndarray, str]:
    """The mask with the values that `common` gives its class names; new names are added there, with free values."""
    table: dict[int, int] = {}
    for name, value in names.items():
        if name not in common:
            taken = set(common.values())
            common[name] = value if value not in taken else next(v for v in range(1, LARGEST) if v not in taken)
        table[value] = common[name]
    changed = {value: to for value, to in table.items() if value != to}
    if not changed:
        return mask, ""
    new = mask.astype(np.uint8 if max(common.values()) < 256 else np.uint16)
    for value, to in changed.items():
        new[mask == value] = to
    moves = ", ".join(f"{name} {value} -> {common[name]}" for name, value in names.items() if value in changed)
    return new, f"other values than elsewhere: set by name, {moves}"
