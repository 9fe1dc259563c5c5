"""From the voxels of one grid to those of another that lies elsewhere in the same patient, by their affines."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform

from fewmask.data.grid import Grid


def resample_image(image: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Linear; image (C, D, H, W) on `source` -> (C, *target.shape) float32.  Outside lies each channel's least value.

    Both grids must have an affine.
    """
    matrix, offset = _index_map(source, target)
    return np.stack(
        [
            affine_transform(
                channel,
                matrix,
                offset,
                target.shape,
                np.float32,
                order=1,
                mode="grid-constant",
                cval=float(channel.min()),
            )
            for channel in np.asarray(image, np.float32)
        ]
    )


def resample_mask(mask: np.ndarray, source: Grid, target: Grid, outside: int = 0) -> np.ndarray:
    """Nearest neighbour; mask (D, H, W) on `source` -> target.shape, same type.  Both grids must have an affine."""
    matrix, offset = _index_map(source, target)
    return affine_transform(mask, matrix, offset, target.shape, order=0, mode="grid-constant", cval=outside)


def coverage(source: Grid, target: Grid) -> float:
    """Share of the voxels of `target` whose centres lie inside `source`, in [0, 1]."""
    matrix, offset = _index_map(source, target)
    axes = [np.linspace(0, size - 1, min(size, 9)) for size in target.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ matrix.T + offset
    inside = (points >= -0.5) & (points <= np.array(source.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _index_map(source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3,): index of `target` -> index of `source`."""
    combined = np.linalg.inv(source.affine) @ target.affine
    return combined[:3, :3], combined[:3, 3]
