"""DICOM-SEG as a mask: binary, fractional and label-map segmentations, on the slices of their image.

A SEG stores the slices that hold something, so the grid of the image says where the others are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels, pixel_array

from fewmask.data.claims import MAX_VALUES
from fewmask.data.dicom.instance import SEGMENTATIONS, Frame, faults, is_dicom, read_dataset, read_instance
from fewmask.data.dicom.series import LPS_TO_RAS, SAME_PLACE_MM
from fewmask.data.grid import AFFINE_TOLERANCE, Grid
from fewmask.errors import DataError

VALUE = re.compile(r"value (\d+)")
"""How fewmask notes a segment's value in the user's own masks (SegmentDescription); segments count from 1."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One structure: its number in the file, its label, and the value that stands for it in a mask."""

    number: int
    label: str
    value: int


def is_segmentation(path: Path) -> bool:
    """Whether the file is a DICOM-SEG."""
    if not is_dicom(path):
        return False
    with faults(path, "reading the DICOM header"):
        return str(read_dataset(path, ("SOPClassUID",)).get("SOPClassUID")) in SEGMENTATIONS


def segment_names(path: Path) -> dict[str, int]:
    """Label of each segment -> its value."""
    return {segment.label: segment.value for segment in _segments(path, read_dataset(path))}


def segmentation_grid(path: Path) -> Grid:
    """The slices from the first to the last that the file holds."""
    with faults(path, "placing the segments"):
        return _own_grid(path, _placed(path), _size(path))


def read_segmentation(path: Path, like: Grid | None) -> tuple[np.ndarray, Grid]:
    """(D, H, W) uint8 (uint16 over 255), and the grid: `like`, or, where that is None, the slices in the file.

    DataError where the frames do not lie on the slices of `like`, and where segments overlap by halves: of two nested
    ones the inner counts.
    """
    with faults(path, "placing the segments"):
        data = read_dataset(path)
        segments = {segment.number: segment for segment in _segments(path, data)}
        frames = _placed(path)
        grid = like if like is not None else _own_grid(path, frames, _size(path))
        if grid.shape[1:] != _size(path):
            raise DataError(
                f"{path}: slices of {_size(path)} and image {grid.shape} differ; give the SEG of this image"
            )
        slices = _slice_indices(path, frames, grid)
        dtype = np.uint8 if max((one.value for one in segments.values()), default=0) < 256 else np.uint16
        mask = np.zeros(grid.shape, dtype)
        kind = str(data.get("SegmentationType") or "BINARY")
        numbers = _numbers(path, data, len(frames), kind)
    painted: dict[int, list[tuple[int, np.ndarray]]] = {number: [] for number in segments}
    with faults(path, "decoding the segments"):
        half = int(data.get("MaximumFractionalValue") or 1) / 2 if kind == "FRACTIONAL" else 1
        for place, number, values in zip(slices, numbers, _pictures(path, len(frames)), strict=True):
            if kind == "LABELMAP":
                for inside in np.unique(values):
                    if inside:
                        painted[int(inside)].append((place, values == inside))
            else:
                painted[number].append((place, values >= half))
        _paint(path, mask, painted, segments)
    return mask, grid


def _pictures(path: Path, count: int) -> Iterator[np.ndarray]:
    """The frames one by one; all at once where single bits of one frame end inside a byte."""
    rows, columns = _size(path)
    if rows * columns % 8 == 0:
        yield from iter_pixels(path, raw=True)
    else:
        yield from pixel_array(path, raw=True).reshape(count, rows, columns)


def _paint(
    path: Path, mask: np.ndarray, painted: dict[int, list[tuple[int, np.ndarray]]], segments: dict[int, Segment]
) -> None:
    """Larger segments first, so that nested ones stay; DataError where two overlap otherwise."""
    sizes = {number: sum(int(inside.sum()) for _, inside in parts) for number, parts in painted.items()}
    for number in sorted(painted, key=lambda number: -sizes[number]):
        covered = sum(int((mask[place][inside] != 0).sum()) for place, inside in painted[number])
        if 0 < covered < sizes[number]:
            raise DataError(
                f"{path}: segment '{segments[number].label}' overlaps another by {covered} of {sizes[number]} voxels; "
                "export segments that do not overlap"
            )
        for place, inside in painted[number]:
            mask[place][inside] = segments[number].value


def _segments(path: Path, data: Dataset) -> list[Segment]:
    with faults(path, "reading the segments"):
        found = []
        for item in data.get("SegmentSequence") or ():
            number = int(item.get("SegmentNumber") or 0)
            noted = VALUE.fullmatch(str(item.get("SegmentDescription") or ""))
            value = int(noted[1]) if noted else number
            if number == 0:
                continue  # the background of a label map
            found.append(
                Segment(number=number, label=str(item.get("SegmentLabel") or f"segment {number}"), value=value)
            )
        if not found or any(not 0 < segment.value < 65536 for segment in found):
            raise DataError(f"{path}: {len(found)} segments, or one without a number; export the segmentation again")
        return found


def _size(path: Path) -> tuple[int, int]:
    instance = read_instance(path)
    return instance.rows, instance.columns


def _placed(path: Path) -> tuple[Frame, ...]:
    """The frames, which must have a place."""
    frames = read_instance(path).frames
    if any(frame.position is None or frame.spacing_mm is None for frame in frames):
        raise DataError(f"{path}: segments without a position; only segmentations of slices in a patient are read")
    return frames


def _numbers(path: Path, data: Dataset, count: int, kind: str) -> list[int]:
    """The segment of each frame; 0 for all of a label map."""
    if kind == "LABELMAP":
        return [0] * count
    with faults(path, "reading the segments"):
        shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        own = data.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * count
        known = {int(item.SegmentNumber) for item in data.SegmentSequence}
        numbers = []
        for groups in own:
            named = groups.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
            numbers.append(int(named[0].ReferencedSegmentNumber) if named else 1)
        if set(numbers) - known:
            raise DataError(f"{path}: frames of segments {sorted(set(numbers) - known)}, which are not described")
        return numbers


def _own_grid(path: Path, frames: tuple[Frame, ...], size: tuple[int, int]) -> Grid:
    first = frames[0]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    positions = np.array([frame.position for frame in frames])
    heights = positions @ normal
    order = np.argsort(heights)
    gaps = np.diff(heights[order])
    step_mm = float(gaps[gaps > SAME_PLACE_MM].min()) if (gaps > SAME_PLACE_MM).any() else first.thickness_mm or 1.0
    lowest, highest = positions[order[0]], positions[order[-1]]
    count = round(float((heights[order[-1]] - heights[order[0]]) / step_mm)) + 1
    if count * size[0] * size[1] > MAX_VALUES:
        raise DataError(f"{path}: {count} slices between the first and the last; the file is damaged, export it again")
    affine = np.eye(4)
    affine[:3, 0] = (highest - lowest) / (count - 1) if count > 1 else normal * step_mm
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing_mm[0]
    affine[:3, 2] = np.array(first.orientation[:3]) * first.spacing_mm[1]
    affine[:3, 3] = lowest
    affine[:3] *= LPS_TO_RAS[:, None]
    spacing_mm = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Grid(shape=(count, *size), spacing_mm=spacing_mm, affine=affine, planar=count == 1)


def _slice_indices(path: Path, frames: tuple[Frame, ...], grid: Grid) -> list[int]:
    """The slice of `grid` on which each frame lies; DataError where one lies on none."""
    if grid.affine is None:
        raise DataError(f"{path}: its image does not say where it lies; give the segmentation as NIfTI")
    inverse = np.linalg.inv(grid.affine)
    last = np.array([grid.shape[1] - 1, grid.shape[2] - 1])
    found = []
    for frame in frames:
        down = np.array(frame.orientation[3:]) * frame.spacing_mm[0] * last[0]
        along = np.array(frame.orientation[:3]) * frame.spacing_mm[1] * last[1]
        corners = np.array(frame.position) + np.stack([np.zeros(3), down, along])
        index = corners * LPS_TO_RAS @ inverse[:3, :3].T + inverse[:3, 3]
        place = round(float(index[0, 0]))
        expected = np.array([[place, 0, 0], [place, last[0], 0], [place, 0, last[1]]])
        if np.abs(index - expected).max() > AFFINE_TOLERANCE or not 0 <= place < grid.shape[0]:
            raise DataError(
                f"{path}: frame {frame.index + 1} lies on no slice of the image; give the SEG of this image"
            )
        found.append(place)
    return found
