"""Native image or mask -> the prepared grid: oriented, resized or resampled; the same for training and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fewmask.data.cache import Preparation
from fewmask.data.grid import Grid, Orientation, orientation, resize_image, resize_label
from fewmask.errors import DataError
from fewmask.seeding import generator

LOCATIONS = 10_000
"""Most positions kept per class: nnU-Net's number."""


def prepared_geometry(grid: Grid, preparation: Preparation) -> tuple[Orientation, Grid]:
    """Native grid -> the orientation and the prepared grid.  Raises DataError where a spacing is needed and missing."""
    turn = orientation(grid, slices=preparation.dims == 2)
    oriented = turn.apply_grid(grid)
    shape = oriented.shape
    if preparation.dims == 3:
        shape = resampled_shape(oriented, preparation.spacing_mm, preparation.zoom)
    elif preparation.size is not None:
        shape = (shape[0], *preparation.size)
    return turn, _resized_grid(oriented, shape)


def resampled_shape(grid: Grid, spacing_mm: Sequence[float] | None, zoom: float) -> tuple[int, int, int]:
    """Voxels of an oriented grid at a spacing (None: its own), times zoom.  DataError where it has no spacing."""
    steps = (1.0, 1.0, 1.0)
    if spacing_mm is not None:
        if grid.spacing_mm is None:
            raise DataError(
                f"image without spacing, but the plan resamples to {spacing_mm} mm; "
                "set plan.spacing_mm=null to keep the voxels as they are"
            )
        steps = tuple(own / common for own, common in zip(grid.spacing_mm, spacing_mm, strict=True))
    return tuple(max(1, round(count * step * zoom)) for count, step in zip(grid.shape, steps, strict=True))


def _resized_grid(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """`grid` with other voxel counts over the same extent; half-pixel centres."""
    if shape == grid.shape:
        return grid
    factor = np.array(grid.shape) / np.array(shape)
    spacing, affine = grid.spacing_mm, grid.affine
    if spacing is not None:
        spacing = tuple(float(value) for value in np.array(spacing) * factor)
    if affine is not None:
        step = np.diag([*factor, 1.0])
        step[:3, 3] = (factor - 1) / 2
        affine = affine @ step
    return replace(grid, shape=shape, spacing_mm=spacing, affine=affine)


def prepare_image(image: np.ndarray, grid: Grid, preparation: Preparation) -> tuple[np.ndarray, Orientation, Grid]:
    """Native image (C, D, H, W) -> the same on the prepared grid (float32, raw values), its orientation, its grid."""
    if image.shape[0] != preparation.channels:
        raise DataError(f"{image.shape[0]} channels where {preparation.channels} are expected; give the same channels")
    turn, prepared = prepared_geometry(grid, preparation)
    return resize_image(turn.apply(image), prepared.shape), turn, prepared


def prepare_label(label: np.ndarray, turn: Orientation, prepared: Grid) -> np.ndarray:
    """Native class indices (D, H, W) -> the same on the prepared grid, nearest."""
    return np.ascontiguousarray(resize_label(turn.apply(label), prepared.shape))


def labelled_only(label: np.ndarray, slices: Sequence[int] | None) -> np.ndarray:
    """Prepared label (D, H, W) with every slice but the labelled ones ignored, in place; None: all are labelled."""
    if slices is None:
        return label
    label[np.setdiff1d(np.arange(len(label)), slices)] = np.iinfo(label.dtype).max
    return label


def compact(image: np.ndarray) -> tuple[np.ndarray, float]:
    """float32 image -> (stored, scale) with image = stored * scale.

    float16 with a power of two as scale, which is exact, unless its error is over 1 % of the deviation (a small
    contrast on a large offset): then float32.
    """
    largest = float(np.abs(image).max(initial=0.0))
    scale = 1.0
    if largest > 32768 or 0 < largest < 1:
        scale = float(2.0 ** (np.ceil(np.log2(largest)) - 15))
    stored = (image / np.float32(scale)).astype(np.float16)
    for channel, kept in zip(image, stored, strict=True):
        squares = sum(np.square(kept[z].astype(np.float32) * scale - channel[z]).sum() for z in range(len(channel)))
        if np.sqrt(squares / channel.size) > 0.01 * channel.std(dtype=np.float64):
            return image.astype(np.float32, copy=False), 1.0
    return stored, scale


def foreground_locations(label: np.ndarray, classes: int, case_id: str) -> dict[int, np.ndarray]:
    """Foreground class -> (n, 3) int32 positions in label (D, H, W), at most LOCATIONS drawn at random, in order."""
    found = {}
    for value in range(1, classes):
        flat = np.flatnonzero(label == value)
        if len(flat) > LOCATIONS:
            flat = np.sort(generator("locations", case_id, value).choice(flat, LOCATIONS, replace=False))
        found[value] = np.stack(np.unravel_index(flat, label.shape), axis=1).astype(np.int32)
    return found
