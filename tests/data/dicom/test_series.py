"""The verdict on a series: what is sorted, what is told apart, what is skipped and why."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest

from fewmask.data.dicom.images import instances_below
from fewmask.data.dicom.series import arranged, kept_once

AFFINE = np.diag([3.0, 1.5, 1.25, 1.0])
AXIAL = {"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}
VOLUME = np.arange(6 * 4 * 5, dtype=np.int16).reshape(6, 4, 5)


def judged(folder) -> list:
    return arranged(instances_below(folder, deep=True)[0])


def test_sound_series_are_sorted_along_the_normal(dicoms) -> None:
    (series,) = judged(dicoms.series("a", VOLUME, AFFINE, order=np.array([4, 0, 5, 2, 1, 3])))
    heights = [float(one.frame.position[0]) for one in series.slices]
    assert series.skipped == ""
    assert heights in (sorted(heights), sorted(heights)[::-1])
    np.testing.assert_allclose(np.abs(np.diff(heights)), 3)


def test_a_missing_slice_is_said_with_its_place(dicoms) -> None:
    folder = dicoms.series("a", VOLUME, AFFINE)
    (folder / "0002.dcm").unlink()
    (series,) = judged(folder)
    assert series.skipped == "missing slice at -6.0 mm (gaps: 1)"  # in the coordinates of DICOM, left positive


def test_uneven_distances(dicoms) -> None:
    heights = [0, 3, 6, 9, 12.6, 15]
    folder = dicoms.series("a", VOLUME, AFFINE, ImagePositionPatient=lambda i: ["0", "0", f"{heights[i]}"], **AXIAL)
    (series,) = judged(folder)
    assert series.skipped == "uneven distances: 3.60 mm after 9.0 mm where 3.00 mm are usual"


def test_slices_that_leave_the_line(dicoms) -> None:
    place = lambda i: [f"{9 * (i == 3)}", "0", f"{3 * i}"]  # noqa: E731
    folder = dicoms.series("a", VOLUME, AFFINE, ImagePositionPatient=place, **AXIAL)
    (series,) = judged(folder)
    assert series.skipped.startswith("slices leave a straight line by 9.00 mm")


def test_copies_of_a_file_are_left_out(dicoms) -> None:
    folder = dicoms.series("a", VOLUME, AFFINE)
    shutil.copy(folder / "0001.dcm", folder / "copy.dcm")
    (series,) = judged(folder)
    assert (series.skipped, series.notes, len(series.slices)) == ("", ("copies of files left out: 1",), 6)


def test_duplicate_positions_are_skipped_and_may_be_kept_once(dicoms) -> None:
    folder = dicoms.series("a", VOLUME, AFFINE)
    extra = dicoms.series("b", VOLUME + 100, AFFINE, order=[2], InstanceNumber=9)
    data = next(iter(extra.iterdir()))
    copied = pydicom.dcmread(data)
    copied.SeriesInstanceUID = pydicom.dcmread(folder / "0000.dcm").SeriesInstanceUID
    dicoms.save(copied, folder / "extra.dcm")
    (series,) = judged(folder)
    assert series.skipped.startswith("duplicate position: 2 slices share places, first at")
    mended = kept_once(series)
    assert (mended.skipped, len(mended.slices), mended.notes) == ("", 6, ("slices at taken places left out: 1",))
    assert all(one.instance.path.name != "extra.dcm" for one in mended.slices)


def test_two_echoes_at_the_same_places_are_two_volumes(dicoms) -> None:
    both = np.concatenate([VOLUME, VOLUME + 500])
    twice = np.concatenate([np.arange(6), np.arange(6)])
    folder = dicoms.root / "a"
    place = lambda i: ["0", "0", f"{3 * twice[i]}"]  # noqa: E731
    echo = lambda i: str(10 * (1 + i // 6))  # noqa: E731
    dicoms.series("a", both, AFFINE, ImagePositionPatient=place, EchoTime=echo, **AXIAL)
    first, second = judged(folder)
    assert not first.skipped and not second.skipped
    assert len(first.slices) == len(second.slices) == 6
    assert first.notes == ("one of 2 by EchoTime",)


@pytest.mark.parametrize("word", ["LOCALIZER", "SCOUT"])
def test_localisers_are_no_images(dicoms, word) -> None:
    (series,) = judged(dicoms.series("a", VOLUME, AFFINE, ImageType=["ORIGINAL", "PRIMARY", word]))
    assert series.skipped == "localiser"


def test_orientations_and_sizes_part_a_series(dicoms) -> None:
    folder = dicoms.series("a", VOLUME, AFFINE)
    turned = dicoms.series("b", VOLUME, AFFINE[:, [1, 2, 0, 3]])
    uid = pydicom.dcmread(folder / "0000.dcm").SeriesInstanceUID
    for path in turned.iterdir():
        data = pydicom.dcmread(path)
        data.SeriesInstanceUID = uid
        dicoms.save(data, folder / f"turned {path.name}")
    assert sorted(len(series.slices) for series in judged(folder)) == [6, 6]
    assert not any(series.skipped for series in judged(folder))
