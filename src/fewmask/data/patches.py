"""Where to cut: which slice or block a sample is taken from, and the cut itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def centre(
    rng: np.random.Generator,
    shape: Sequence[int],
    patch: Sequence[int],
    locations: Mapping[int, np.ndarray] | None = None,
    foreground: float = 0.0,
) -> tuple[int, ...]:
    """The centre voxel of a random patch in a volume of `shape`.

    With probability `foreground` it is a voxel of a class drawn uniformly from `locations` (class -> (n, 3) voxels);
    otherwise uniform over the positions at which the patch lies inside; an axis shorter than the patch is centred.
    """
    present = [voxels for voxels in (locations or {}).values() if len(voxels)]
    draw = rng.random()
    if present and draw < foreground:
        voxels = present[rng.integers(len(present))]
        return tuple(int(v) for v in voxels[rng.integers(len(voxels))])
    starts = [rng.integers(max(size - length, 0) + 1) for size, length in zip(shape, patch, strict=True)]
    return tuple(
        int(start) + length // 2 if size > length else size // 2
        for start, size, length in zip(starts, shape, patch, strict=True)
    )


def cut(array: np.ndarray, middle: Sequence[int], size: Sequence[int], fill: float | None) -> np.ndarray:
    """The block of `size` around `middle`; beyond the array it holds `fill`, or the border's values where that is None.

    array (..., D, H, W); `len(size) == 2` takes slice `middle[0]` and drops the axis: (..., h, w), else (..., d, h, w).
    `middle` lies inside the array and lands on index `size // 2`.
    """
    if len(size) == 2:
        array = array[..., middle[0], :, :]
        middle = middle[1:]
    lead = array.ndim - len(size)
    source = [slice(None)] * lead
    missing = [(0, 0)] * lead
    for extent, position, length in zip(array.shape[lead:], middle, size, strict=True):
        start = position - length // 2
        source.append(slice(max(start, 0), min(start + length, extent)))
        missing.append((max(-start, 0), max(start + length - extent, 0)))
    block = np.asarray(array[tuple(source)])
    if not any(before or after for before, after in missing):
        return block
    return np.pad(block, missing, mode="edge") if fill is None else np.pad(block, missing, constant_values=fill)
