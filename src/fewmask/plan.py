"""Data and machine -> tier, rank, size, spacing, intensity, flips and rotation; each choice with its reason.

The rules measure headers of the training images; no mask is opened.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fewmask import config
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue
from fewmask.data.conform import resampled_shape
from fewmask.data.grid import Grid, orientation
from fewmask.device import has_cuda
from fewmask.errors import DataError, SettingsError
from fewmask.types import Split

LARGEST_SPACING_RATIO = 3.0
"""Slices further apart than this multiple of the pixel size are segmented one by one."""
ISOTROPIC_LAYOUTS = {"uamt"}
"""Layouts without spacing whose volumes are known to be isotropic."""


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What decides which recipes apply, with (setting, value, reason) for each."""

    tier: str
    dims: int
    reasons: tuple[tuple[str, Any, str], ...]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The whole plan; `settings` has no open choice left, `reasons` are (setting, value, reason)."""

    settings: config.Plan
    reasons: tuple[tuple[str, Any, str], ...]


def choose_tier(wanted: str, device: str = "auto") -> tuple[str, str]:
    """The tier, and why; wanted: `auto` or a tier; device: auto, cpu or cuda."""
    if wanted != "auto":
        return wanted, "as set"
    if device.startswith("cuda") or (device == "auto" and has_cuda()):
        return "paper", "CUDA device"
    return "cpu", "device cpu" if device == "cpu" else "no CUDA device"


def plan_rank(catalogue: Catalogue, split: Split, wanted: config.Plan, device: str = "auto") -> Rank:
    """Tier and rank, the two choices on which recipes depend.  `wanted`: what the user set; device: auto, cpu, cuda."""
    tier, why = choose_tier(wanted.tier, device)
    reasons: list[tuple[str, Any, str]] = [("plan.tier", tier, why)]
    if wanted.dims is not None:
        dims, why = wanted.dims, "as set"
    else:
        dims, why = _dims(catalogue, _training_grids(catalogue, split))
    reasons.append(("plan.dims", dims, why))
    return Rank(tier=tier, dims=dims, reasons=tuple(reasons))


def make_plan(
    catalogue: Catalogue, split: Split, rank: Rank, wanted: config.Plan, sized_by: str = "", fixed: Iterable[str] = ()
) -> Planned:
    """The plan for `rank`.

    wanted: the settings after all recipes and `key=value`.  sized_by: where wanted.size comes from, for its reason.
    fixed: the fields of `wanted` that hold as they are; a 3-D size not among them is fitted to the images.
    Raises DataError where the training images cannot be planned for.
    """
    fixed = set(fixed)
    dims = rank.dims
    grids = _training_grids(catalogue, split)
    reasons = list(rank.reasons)

    spacing_mm = None
    if dims == 2 and wanted.spacing_mm is not None:
        raise SettingsError(
            f"plan.spacing_mm={list(wanted.spacing_mm)}: slices are resized to plan.size, whatever their spacing; "
            "leave it out, or set plan.dims=3"
        )
    if dims == 2 and wanted.zoom != 1:
        raise SettingsError(f"plan.zoom={wanted.zoom:g}: slices are resized to plan.size; set that, or plan.dims=3")
    if dims == 3:
        if wanted.spacing_mm is not None:
            spacing_mm, why = wanted.spacing_mm, "as set"
        else:
            spacing_mm, why = _median_spacing(grids)
        reasons.append(("plan.spacing_mm", spacing_mm, why))

    if wanted.size is None:
        raise DataError("plan.size: no recipe gives a size; add plan.size=[H,W] or plan.size=[D,H,W]")
    if len(wanted.size) != dims:
        raise SettingsError(f"plan.size={list(wanted.size)}: {dims} numbers are needed for plan.dims={dims}")
    size, why = wanted.size, "as set" if "size" in fixed else (sized_by or f"tier {rank.tier}")
    if dims == 2:
        why += "; every slice is resized to it"
    elif "size" not in fixed:
        shape = _median_shape(grids, spacing_mm, wanted.zoom)
        size = fit_patch(wanted.size, shape)
        why += f", fitted to the median image of {_by(shape)} voxels"
    reasons.append(("plan.size", size, why))

    if wanted.intensity != "auto":
        intensity, why = wanted.intensity, "as set"
    else:
        intensity, why = _intensity(catalogue)
    reasons.append(("plan.intensity", intensity, why))

    flip = tuple(sorted(set(wanted.flip)))
    if any(axis not in range(dims) for axis in flip):
        raise SettingsError(f"plan.flip={list(flip)}: spatial axes are 0 to {dims - 1}")
    reasons.append(("plan.flip", flip, "as set" if flip else "scans of mirrored patients do not occur"))

    if wanted.rotation is not None:
        rotation, why = wanted.rotation, "as set"
    elif dims == 2 and not _pictures(catalogue, grids):
        rotation, why = 180, "some scanners' slices lie on their side"
    else:
        rotation, why = 30, "pictures have an up" if dims == 2 else "volumes are turned upright by their headers"
    reasons.append(("plan.rotation", rotation, why))

    settings = config.Plan(
        tier=rank.tier,
        dims=dims,
        size=size,
        spacing_mm=spacing_mm,
        zoom=wanted.zoom,
        intensity=intensity,
        flip=flip,
        rotation=rotation,
    )
    return Planned(settings=settings, reasons=tuple(reasons))


def fit_patch(patch: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """`patch` with its sides in the order of the image's, none longer than the image; multiples of 8.

    The largest side goes to the image's longest axis; equal axes keep the order of `patch`.
    """
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis], patch[axis]))
    sides = sorted(patch)
    fitted = [0] * len(shape)
    for side, axis in zip(sides, order, strict=True):
        fitted[axis] = min(side, max(8, shape[axis] // 8 * 8))
    return tuple(fitted)


def _training_grids(catalogue: Catalogue, split: Split) -> list[Grid]:
    """The native grids of the training images, from their headers."""
    ids = dict.fromkeys((*split.labelled_slices, *split.unlabelled))
    grids = [formats.read_header(catalogue.by_id[case].images[0]).grid for case in ids]
    if not grids:
        raise DataError("the split has no training case; give --labelled")
    return grids


def _pictures(catalogue: Catalogue, grids: Sequence[Grid]) -> bool:
    return catalogue.planar or all(grid.planar for grid in grids)


def _dims(catalogue: Catalogue, grids: Sequence[Grid]) -> tuple[int, str]:
    if _pictures(catalogue, grids):
        return 2, "planar images"
    if catalogue.layout in ISOTROPIC_LAYOUTS:
        return 3, f"layout {catalogue.layout}: isotropic volumes"
    if any(grid.spacing_mm is None for grid in grids):
        return 2, "no spacing in the files"
    if statistics.median(grid.shape[0] == 1 or min(grid.shape) == 1 for grid in grids):
        return 2, "single slices"
    ratio = statistics.median(max(grid.spacing_mm) / min(grid.spacing_mm) for grid in grids)
    if ratio > LARGEST_SPACING_RATIO:
        return 2, f"spacing ratio {ratio:.1f} is over {LARGEST_SPACING_RATIO:g}"
    return 3, f"spacing ratio {ratio:.1f} is at most {LARGEST_SPACING_RATIO:g}"


def _oriented(grids: Iterable[Grid], slices: bool = False) -> list[Grid]:
    return [orientation(grid, slices=slices).apply_grid(grid) for grid in grids]


def _median_spacing(grids: Sequence[Grid]) -> tuple[tuple[float, ...] | None, str]:
    if any(grid.spacing_mm is None for grid in grids):
        return None, "no spacing in the files: voxels as they are"
    spacings = [grid.spacing_mm for grid in _oriented(grids)]
    median = tuple(round(statistics.median(axis), 4) for axis in zip(*spacings, strict=True))
    return median, f"median of {len(grids)} training images"


def _median_shape(grids: Sequence[Grid], spacing_mm: Sequence[float] | None, zoom: float) -> tuple[int, ...]:
    """The median image (D, H, W) on its prepared grid."""
    shapes = [
        resampled_shape(grid, spacing_mm if grid.spacing_mm is not None else None, zoom) for grid in _oriented(grids)
    ]
    return tuple(int(statistics.median(axis)) for axis in zip(*shapes, strict=True))


def _intensity(catalogue: Catalogue) -> tuple[str, str]:
    names = [name.lower() for name in catalogue.channels]
    if all(name == "ct" for name in names):
        return "ct", "channel named CT"
    if catalogue.planar and len(names) == 3:
        return "rgb", "three channels of a planar image"
    if catalogue.planar and len(names) == 1:
        return "percentile", "one grey channel of a planar image"
    return "zscore", f"channels {', '.join(catalogue.channels)}: no fixed scale"


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)
