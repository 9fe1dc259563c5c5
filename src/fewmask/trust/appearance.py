"""What an image looks like in a few numbers: to tell that it is unlike those of training, and how unlike two are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of the normalised intensities."""
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
"""Blind to flat and linear parts of an image (Immerkær, CVIU 1996): what is left is mostly noise."""
FLOOR = 1e-3
"""Least deviation under the logarithm: an image may have no noise at all."""
COARSE = (4, 8, 8)
"""Blocks of the descriptor along D, H, W."""


def appearance(image: np.ndarray) -> dict[str, float]:
    """Named numbers of a normalised image (C, D, H, W): per channel quantiles, noise, sharpness and texture.

    noise: logarithm of the deviation that Immerkær's mask leaves, in planes; sharpness: of the mean gradient; flat: the
    share of voxels that equal their neighbour, as padding and blanked slices do.
    """
    found: dict[str, float] = {}
    for number, channel in enumerate(image):
        prefix = f"channel {number} " if len(image) > 1 else ""
        for level, value in zip(LEVELS, np.quantile(channel, LEVELS), strict=True):
            found[f"{prefix}quantile {level:g}"] = float(value)
        residue = ndimage.convolve(channel, NOISE_MASK[None], mode="nearest")
        noise = np.sqrt(np.pi / 2) / 6 * float(np.abs(residue).mean())
        steps = np.abs(np.diff(channel, axis=-1))
        found[f"{prefix}noise"] = float(np.log(noise + FLOOR))
        found[f"{prefix}sharpness"] = float(np.log((steps.mean() if steps.size else 0.0) + FLOOR))
        found[f"{prefix}flat"] = float((steps == 0).mean()) if steps.size else 0.0
    return {name: round(value, 5) for name, value in found.items()}


def descriptor(image: np.ndarray) -> list[float]:
    """A coarse copy of a normalised image (C, D, H, W): means of COARSE blocks over all channels, flat."""
    mean = image.mean(0)
    for axis, blocks in enumerate(COARSE):
        edges = np.linspace(0, mean.shape[axis], blocks + 1)
        parts = [
            mean.take(range(int(start), max(int(start) + 1, int(np.ceil(stop)))), axis, mode="clip").mean(axis)
            for start, stop in pairwise(edges)
        ]
        mean = np.stack(parts, axis)
    return [round(float(value), 3) for value in mean.ravel()]
