"""Overlap and surface distance of each class in one case, and the rules for empty masks, written here and only here.

Both masks empty: every overlap and distance is NaN, to be left out of means and counted.  One empty: overlaps 0,
distances the diagonal of the image, counted as missed or hallucinated.  Voxels that are not `valid` belong to no class
in either mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

Note = Literal["", "missed", "hallucinated", "both_empty"]

TOLERANCE_MM = 1.0
"""Surface Dice counts surface voxels that lie within this distance of the other surface."""
SLAB_VOXELS = 2**22
"""Voxels that `confusion` counts at once, so that a large volume needs little memory besides itself."""


def confusion(
    prediction: np.ndarray, reference: np.ndarray, classes: int, valid: np.ndarray | None = None
) -> np.ndarray:
    """Voxel counts (K, K) int64: row the reference's class, column the prediction's.

    prediction and reference: class indices 0..K-1 of equal shape (anything where invalid); valid: bool, None: all.
    """
    counts = np.zeros(classes * classes, dtype=np.int64)
    slab = max(1, SLAB_VOXELS // max(1, reference[0].size))
    for start in range(0, len(reference), slab):
        part = slice(start, start + slab)
        predicted, real = prediction[part], reference[part]
        if valid is not None:
            predicted, real = predicted[valid[part]], real[valid[part]]
        pairs = real.ravel().astype(np.intp) * classes + predicted.ravel()
        counts += np.bincount(pairs, minlength=classes * classes)
    return counts.reshape(classes, classes)


def dice(counts: np.ndarray) -> np.ndarray:
    """Dice of each class (K,) in [0, 1] from a confusion matrix; NaN where both masks are empty."""
    return _ratio(2 * np.diag(counts), counts.sum(0) + counts.sum(1))


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class (K,) from a confusion matrix; NaN where both masks are empty."""
    return _ratio(np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def note(counts: np.ndarray, label: int) -> Note:
    """Whether class `label` is empty in the prediction (missed), the reference (hallucinated) or both."""
    predicted, real = counts[:, label].any(), counts[label].any()
    if predicted and real:
        return ""
    return "missed" if real else "hallucinated" if predicted else "both_empty"


@dataclass(frozen=True, kw_only=True)
class SurfaceScores:
    """hd95 and assd in the unit of the spacing; surface_dice in [0, 1]; NaN where both masks are empty."""

    hd95: float
    assd: float
    surface_dice: float


def surface_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tolerance: float = TOLERANCE_MM
) -> SurfaceScores:
    """Distances between the surfaces of two bool masks (*S), spacing per axis (1 everywhere: voxels).

    A surface voxel is one with a face neighbour outside the mask or outside the image (MONAI, SciPy's erosion); axes of
    length 1 do not count as space.  hd95 is the larger of the two directed 95th percentiles (MONAI's; MedPy pools both
    directions instead).  assd is the mean over the surface voxels of both masks.  surface_dice is the share of all
    surface voxels that lie within `tolerance` of the other surface.
    """
    space = [axis for axis, length in enumerate(prediction.shape) if length > 1] or [0]
    spacing = [spacing[axis] for axis in space]
    shape = [prediction.shape[axis] for axis in space]
    prediction, reference = prediction.reshape(shape), reference.reshape(shape)
    if not prediction.any() or not reference.any():
        if not prediction.any() and not reference.any():
            return SurfaceScores(hd95=math.nan, assd=math.nan, surface_dice=math.nan)
        diagonal = math.hypot(*(length * step for length, step in zip(shape, spacing, strict=True)))
        return SurfaceScores(hd95=diagonal, assd=diagonal, surface_dice=0.0)

    predicted, real = _surface(prediction, spacing), _surface(reference, spacing)
    there = KDTree(real).query(predicted)[0]
    back = KDTree(predicted).query(real)[0]
    both = np.concatenate([there, back])
    return SurfaceScores(
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float(both.mean()),
        surface_dice=float((both <= tolerance).mean()),
    )


def _surface(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Positions (n, rank) of a mask's surface voxels, in the unit of the spacing."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]  # erosion outside the bounding box would be wasted
    mask = mask[box]
    corner = [part.start for part in box]
    return (np.argwhere(mask & ~ndimage.binary_erosion(mask)) + corner) * np.asarray(spacing, dtype=float)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One class in one case.  NaN: left out of means; volumes in voxels."""

    dice: float
    iou: float
    hd95: float
    assd: float
    surface_dice: float
    voxels: int
    reference_voxels: int
    note: Note


def score_classes(
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: int,
    spacing: Sequence[float],
    valid: np.ndarray | None = None,
) -> tuple[list[Scores], np.ndarray]:
    """Scores of the classes 1..K-1, the background left out, and the confusion matrix (K, K) they rest on.

    prediction and reference: class indices of equal shape; spacing per axis, 1 everywhere for distances in voxels.
    """
    counts = confusion(prediction, reference, classes, valid)
    overlap, union = dice(counts), iou(counts)
    scores = []
    for label in range(1, classes):
        predicted, real = prediction == label, reference == label
        if valid is not None:
            predicted, real = predicted & valid, real & valid
        surface = surface_scores(predicted, real, spacing)
        scores.append(
            Scores(
                dice=float(overlap[label]),
                iou=float(union[label]),
                hd95=surface.hd95,
                assd=surface.assd,
                surface_dice=surface.surface_dice,
                voxels=int(counts[:, label].sum()),
                reference_voxels=int(counts[label].sum()),
                note=note(counts, label),
            )
        )
    return scores, counts
