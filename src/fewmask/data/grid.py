"""Where the voxels of an array lie: Grid, the closest canonical Orientation with its exact way back, and resizing.

Arrays are (..., D, H, W).  A NIfTI file (x, y, z) is held as (z, y, x), so the canonical order of the axes is
(superior, anterior, right), which is RAS+ reversed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

AFFINE_TOLERANCE = 0.1
"""Largest distance between the corners of two grids that counts as the same place, in voxels of the finest axis."""

COARSE_RATIO = 1.5
"""An axis this much coarser than the other two is the one along which slices were stacked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Shape (D, H, W) and place of a volume.

    `spacing_mm` (D, H, W) is None where the file has none; `affine` (4, 4) maps an index (d, h, w) to RAS+ mm, None
    where the orientation is unknown; `planar` says that the image is one 2-D picture.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None = None
    affine: np.ndarray | None = None
    planar: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if self.spacing_mm is not None:
            object.__setattr__(self, "spacing_mm", tuple(float(size) for size in self.spacing_mm))
        if self.affine is not None:
            affine = np.array(self.affine, dtype=np.float64)
            affine.setflags(write=False)
            object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.shape, self.spacing_mm, self.planar))

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` takes them; floats survive exactly."""
        return {
            "shape": list(self.shape),
            "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm),
            "affine": None if self.affine is None else self.affine.tolist(),
            "planar": self.planar,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Grid:
        """The grid that `to_json` described."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What can be known of an image file without reading its voxels."""

    channels: int
    grid: Grid


def difference(first: Grid, second: Grid) -> str:
    """How two grids differ, as a phrase for an error message; "" where they agree.

    Spacing and place are compared only where both grids have them.
    """
    if first.shape != second.shape:
        return f"shape {first.shape} and {second.shape}"
    if first.spacing_mm and second.spacing_mm and not np.allclose(first.spacing_mm, second.spacing_mm, rtol=1e-2):
        return f"spacing {_rounded(first.spacing_mm)} and {_rounded(second.spacing_mm)} mm"
    if first.affine is not None and second.affine is not None:
        corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in first.shape))])
        apart_mm = np.linalg.norm(corners @ (first.affine - second.affine).T, axis=1).max()
        finest_mm = np.linalg.norm(first.affine[:3, :3], axis=0).min()
        if apart_mm > AFFINE_TOLERANCE * finest_mm:
            return f"position or direction, by up to {apart_mm:.3g} mm"
    return ""


def _rounded(spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(size, 4) for size in spacing_mm)


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """A reordering of the axes: oriented axis i is native axis `axes[i]`, reversed where `flips[i]`."""

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Native (..., D, H, W) -> oriented (..., D, H, W), a view."""
        return self._flipped(_transposed(array, self.axes))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Oriented (..., D, H, W) -> native (..., D, H, W), a view."""
        return _transposed(self._flipped(array), tuple(self.axes.index(axis) for axis in range(3)))

    def _flipped(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, [axis - 3 for axis in range(3) if self.flips[axis]])

    def apply_grid(self, grid: Grid) -> Grid:
        """The grid of `apply(array)` for an array on `grid`: the same voxel stays at the same place in mm."""
        shape = tuple(grid.shape[axis] for axis in self.axes)
        spacing_mm = None if grid.spacing_mm is None else tuple(grid.spacing_mm[axis] for axis in self.axes)
        affine = grid.affine
        if affine is not None:
            to_native = np.zeros((4, 4))
            to_native[3, 3] = 1
            for oriented, native in enumerate(self.axes):
                to_native[native, oriented] = -1 if self.flips[oriented] else 1
                to_native[native, 3] = grid.shape[native] - 1 if self.flips[oriented] else 0
            affine = affine @ to_native
        return Grid(shape=shape, spacing_mm=spacing_mm, affine=affine, planar=grid.planar)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` takes them."""
        return {"axes": list(self.axes), "flips": list(self.flips)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Orientation:
        """The orientation that `to_json` described."""
        return cls(axes=tuple(values["axes"]), flips=tuple(values["flips"]))


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    leading = array.ndim - 3
    return array.transpose(*range(leading), *(leading + axis for axis in axes))


def orientation(grid: Grid, slices: bool) -> Orientation:
    """The closest canonical orientation, (superior, anterior, right); without an affine the stored order stays.

    With `slices` the axis along which slices are stacked goes first: one of length 1, else one over COARSE_RATIO times
    coarser than the other two.  The others keep the canonical order.
    """
    axes, flips = [0, 1, 2], [False, False, False]
    if grid.affine is not None:
        closest = nib.orientations.io_orientation(grid.affine)  # per native axis: RAS axis, direction
        ras = [int(axis) for axis in closest[:, 0]]
        axes = [ras.index(axis) for axis in (2, 1, 0)]
        flips = [closest[axis, 1] < 0 for axis in axes]
    first = _stacking_axis(grid, axes) if slices else None
    if first is not None:
        order = [first, *(axis for axis in range(3) if axis != first)]
        axes, flips = [axes[axis] for axis in order], [flips[axis] for axis in order]
    return Orientation(axes=tuple(axes), flips=tuple(bool(flip) for flip in flips))


def turned_onto(grid: Grid, target: Grid) -> Orientation | None:
    """The reordering of axes after which an array on `grid` lies on `target`; None where no reordering does that."""
    if grid.affine is None or target.affine is None or sorted(grid.shape) != sorted(target.shape):
        return None
    steps = np.linalg.inv(grid.affine[:3, :3]) @ target.affine[:3, :3]
    axes = tuple(int(axis) for axis in np.abs(steps).argmax(axis=0))
    if sorted(axes) != [0, 1, 2]:
        return None
    turn = Orientation(axes=axes, flips=tuple(bool(steps[axis, place] < 0) for place, axis in enumerate(axes)))
    return None if difference(turn.apply_grid(grid), target) else turn


def _stacking_axis(grid: Grid, axes: list[int]) -> int | None:
    """The place in `axes` of the through-plane axis; None where no axis stands out."""
    single = [place for place, axis in enumerate(axes) if grid.shape[axis] == 1]
    if single:
        return single[0] if len(single) == 1 else None
    if grid.spacing_mm is None:
        return None
    spacing_mm = [grid.spacing_mm[axis] for axis in axes]
    coarsest = int(np.argmax(spacing_mm))
    others = [size for place, size in enumerate(spacing_mm) if place != coarsest]
    return coarsest if spacing_mm[coarsest] > COARSE_RATIO * float(np.median(others)) else None


def resize_image(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Linear resizing with half-pixel centres.  image (C, D, H, W) float32 -> (C, *shape) float32.

    A reduced axis is averaged over the voxels that a new one covers (antialiasing); an unchanged one is left alone, so
    slices never mix when D stays.
    """
    channels, depth, height, width = image.shape
    if (height, width) != tuple(shape[1:]):
        slices = image.reshape(channels * depth, height, width)
        resized = np.empty((channels * depth, *shape[1:]), np.float32)
        for index, plane in enumerate(slices):
            resized[index] = _resize_plane(plane, (shape[1], shape[2]))
        image = resized.reshape(channels, depth, *shape[1:])
    if depth != shape[0]:
        columns = image.reshape(channels, depth, -1)
        resized = np.stack([_resize_plane(plane, (shape[0], plane.shape[1])) for plane in columns])
        image = resized.reshape(channels, *shape)
    return image


def _resize_plane(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 -> size; Pillow's triangle filter widens on reduction and clamps at the border."""
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_label(label: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Nearest neighbour with half-pixel centres.  label (D, H, W) -> shape, same dtype."""
    if label.shape == tuple(shape):
        return label
    nearest = [
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(label.shape, shape, strict=True)
    ]
    return label[np.ix_(*nearest)]
