"""Files of a DICOM series -> one volume: grouped, sorted along the normal, and judged.

A series is read, or skipped with the reason; nothing is guessed.  Slices whose positions advance obliquely (a tilted
gantry) keep that as shear in the affine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fewmask.data.dicom.instance import TELLING, Frame, Instance
from fewmask.data.grid import Grid

SAME_DIRECTION = 1e-3
"""Largest difference between the cosines of slices of one volume."""
SAME_PLACE_MM = 1e-3
UNEVEN = 0.1
"""Largest deviation of a gap between slices, relative to the usual one; also of slices from a straight line."""
TILT_DEGREES = 0.1
TINY_MM3 = 1e-12
"""A voxel smaller than this was never measured."""
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """A frame of a file, in its place in a volume."""

    instance: Instance
    frame: Frame


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """A volume or a picture in order of position; `skipped` says why it cannot be read, "" where it can."""

    slices: tuple[Slice, ...]
    grid: Grid | None = None
    skipped: str = ""
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Instance:
        return self.slices[0].instance

    @property
    def channels(self) -> int:
        return self.first.samples


def arranged(instances: Iterable[Instance]) -> list[Series]:
    """All instances as series, in the order in which their first files came; segmentations are left out."""
    groups: list[list[Instance]] = []
    alike: dict[tuple, list[tuple[tuple, list[Instance]]]] = {}
    for instance in instances:
        if instance.is_segmentation:
            continue
        key = _key(instance)
        near = alike.setdefault(key[0], []) if key is not None else []
        group = next((members for other, members in near if _same(key, other)), None)
        if group is None:
            groups.append([instance])
            near.append((key, groups[-1]))
        else:
            group.append(instance)
    return [series for members in groups for series in _volumes(members)]


def stands_alone(instance: Instance) -> bool:
    """Whether the file is a volume or a picture by itself, whatever lies beside it."""
    return _key(instance) is None


def _key(instance: Instance) -> tuple | None:
    """What slices of one volume share; None where the file is a volume or a picture by itself."""
    frame = instance.frames[0]
    if len(instance.frames) > 1 or frame.position is None:
        return None
    size = (instance.series, instance.rows, instance.columns, instance.samples)
    return size, frame.orientation, frame.spacing_mm or (0.0, 0.0)


def _same(first: tuple, second: tuple) -> bool:
    return all(np.allclose(one, other, atol=SAME_DIRECTION) for one, other in zip(first[1:], second[1:], strict=True))


def _volumes(instances: Sequence[Instance]) -> list[Series]:
    """One group as one series, or as several where they lie at the same places and a tag tells them apart."""
    unique = {instance.uid: instance for instance in sorted(instances, key=lambda one: (one.number, str(one.path)))}
    notes = (f"copies of files left out: {len(instances) - len(unique)}",) if len(unique) < len(instances) else ()
    slices = [Slice(instance=instance, frame=frame) for instance in unique.values() for frame in instance.frames]
    if slices[0].instance.localiser:
        return [Series(slices=tuple(slices), skipped="localiser")]
    if any(one.frame.position is None for one in slices):
        return [_without_place(slices, notes)]
    series = _stacked(slices, notes)
    if series.skipped.startswith("duplicate") and len(unique) > 1:
        for index, tag in enumerate(TELLING):
            told: dict[str, list[Slice]] = {}
            for one in slices:
                told.setdefault(one.instance.telling[index], []).append(one)
            parts = [_stacked(part, (*notes, f"one of {len(told)} by {tag}")) for part in told.values()]
            if len(told) > 1 and not any(part.skipped for part in parts):
                return parts
    return [series]


def _without_place(slices: Sequence[Slice], notes: tuple[str, ...]) -> Series:
    """A picture, or the frames of a film: in their order, without an affine."""
    first = slices[0]
    if first.instance.inverted:
        notes = (*notes, "MONOCHROME1 inverted")
    planar = len(slices) == 1
    spacing = first.frame.spacing_mm
    grid = Grid(
        shape=(len(slices), first.instance.rows, first.instance.columns),
        spacing_mm=(1.0, *spacing) if spacing and planar else None,
        planar=planar,
    )
    return Series(slices=tuple(slices), grid=grid, notes=notes)


def _stacked(slices: Sequence[Slice], notes: tuple[str, ...]) -> Series:
    """Slices sorted along their normal, with the affine that their positions give."""
    first = slices[0].frame
    if not all(_same(("", first.orientation), ("", one.frame.orientation)) for one in slices):
        return Series(slices=tuple(slices), skipped="frames of several orientations")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    ordered = sorted(slices, key=lambda one: float(np.dot(normal, one.frame.position)))
    positions = np.array([one.frame.position for one in ordered])
    heights = positions @ normal
    if first.spacing_mm is None:
        return Series(slices=tuple(ordered), skipped="no pixel spacing")
    fault = _gap(heights) or _bend(positions, min(first.spacing_mm))
    if fault:
        return Series(slices=tuple(ordered), skipped=fault)
    if len(ordered) > 1:
        step = (positions[-1] - positions[0]) / (len(ordered) - 1)
        tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
        if tilt > TILT_DEGREES:
            notes = (*notes, f"tilt of {tilt:.1f} degrees kept as shear")
    else:
        step = normal * (first.thickness_mm or 1.0)
    if ordered[0].instance.inverted:
        notes = (*notes, "MONOCHROME1 inverted")
    affine = np.eye(4)
    row_apart, column_apart = first.spacing_mm
    affine[:3, 0] = step
    affine[:3, 1] = np.array(first.orientation[3:]) * row_apart
    affine[:3, 2] = np.array(first.orientation[:3]) * column_apart
    affine[:3, 3] = positions[0]
    affine[:3] *= LPS_TO_RAS[:, None]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < TINY_MM3:
        return Series(slices=tuple(ordered), skipped="positions, spacing or thickness cannot be")
    grid = Grid(
        shape=(len(ordered), ordered[0].instance.rows, ordered[0].instance.columns),
        spacing_mm=tuple(np.linalg.norm(affine[:3, :3], axis=0)),
        affine=affine,
        planar=len(ordered) == 1,
    )
    return Series(slices=tuple(ordered), grid=grid, notes=notes)


def _gap(heights: np.ndarray) -> str:
    """What is wrong with the distances between slices; "" where they are even."""
    gaps = np.diff(heights)
    if not len(gaps):
        return ""
    twice = np.flatnonzero(gaps < SAME_PLACE_MM)
    if len(twice):
        return f"duplicate position: {len(twice) + 1} slices share places, first at {heights[twice[0]]:.1f} mm"
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: a hole only lengthens gaps
    odd = np.flatnonzero(np.abs(gaps - usual) > UNEVEN * usual)
    if not len(odd):
        return ""
    place = heights[odd[0]]
    if gaps[odd[0]] > 1.5 * usual:
        return f"missing slice at {place + usual:.1f} mm (gaps: {len(odd)})"
    return f"uneven distances: {gaps[odd[0]]:.2f} mm after {place:.1f} mm where {usual:.2f} mm are usual"


def _bend(positions: np.ndarray, finest_mm: float) -> str:
    """Whether slices leave the straight line from the first to the last."""
    line = np.linspace(positions[0], positions[-1], len(positions))
    apart = float(np.linalg.norm(positions - line, axis=1).max())
    along = float(np.linalg.norm(positions[-1] - positions[0])) / max(1, len(positions) - 1)
    return f"slices leave a straight line by {apart:.2f} mm" if apart > max(UNEVEN * along, finest_mm) else ""


def kept_once(series: Series) -> Series:
    """A series that was skipped for duplicate positions, with the first file of each position kept."""
    heights: dict[float, Slice] = {}
    normal = np.cross(series.slices[0].frame.orientation[:3], series.slices[0].frame.orientation[3:])
    for one in sorted(series.slices, key=lambda one: one.instance.number):
        place = round(float(np.dot(normal, one.frame.position)) / SAME_PLACE_MM / 10)
        heights.setdefault(place, one)
    dropped = len(series.slices) - len(heights)
    mended = _stacked(list(heights.values()), series.notes)
    return replace(mended, notes=(*mended.notes, f"slices at taken places left out: {dropped}"))
