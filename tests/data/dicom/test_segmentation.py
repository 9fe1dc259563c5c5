"""DICOM-SEG out and in: voxel for voxel by fewmask, pydicom and highdicom; on every direction of the slices."""

from __future__ import annotations

from itertools import permutations, product

import highdicom as hd
import numpy as np
import pydicom
import pytest

from fewmask.data import formats
from fewmask.data.dicom.images import series_at
from fewmask.data.dicom.write_segmentation import ANATOMY, structure_code
from fewmask.data.layouts import find_cases
from fewmask.data.scan import scan
from fewmask.errors import DataError, SettingsError
from fewmask.types import LabelSet

LABELS = LabelSet(names=("background", "LV", "Tumour", "flurble"), values=(0, 7, 200, 201))
OBLIQUE = np.linalg.qr(np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]]))[0]
SHAPE = (6, 9, 7)
VOLUME = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)


def affine(directions=OBLIQUE) -> np.ndarray:
    placed = np.eye(4)
    placed[:3, :3] = directions * [4.0, 1.5, 1.25]
    placed[:3, 3] = (-11.5, 7.25, 101)
    return placed


def mask(seed: int = 1) -> np.ndarray:
    """Three structures; the first and the last slice are empty."""
    drawn = np.random.default_rng(seed).choice(np.array(LABELS.values, np.uint8), SHAPE)
    drawn[[0, -1]] = 0
    return drawn


def written(dicoms, folder, drawn: np.ndarray):
    path = dicoms.root / "masks" / "seg.dcm"
    formats.write_mask(path, drawn, formats.read_header(folder).grid, folder, LABELS, "fewmask abc")
    return path


@pytest.mark.parametrize("order, signs", [*product(permutations(range(3)), [(1, 1, 1), (1, 1, -1)])])
def test_masks_come_back_in_every_direction(dicoms, order, signs) -> None:
    folder = dicoms.series("ct", VOLUME, affine(OBLIQUE[:, order] * signs), order=np.array([3, 0, 5, 1, 4, 2]))
    drawn = mask()
    path = written(dicoms, folder, drawn)
    again, grid = formats.read_mask(path, folder)
    np.testing.assert_array_equal(again, drawn)
    assert grid == formats.read_header(folder).grid
    alone, lesser = formats.read_mask(path)  # without the image: the slices that hold something
    np.testing.assert_array_equal(alone, drawn[1:-1])
    np.testing.assert_allclose(lesser.affine[:3, :3], grid.affine[:3, :3], atol=1e-6)


def test_others_read_the_same(dicoms) -> None:
    folder = dicoms.series("ct", VOLUME, affine())
    drawn = mask()
    path = written(dicoms, folder, drawn)
    sources = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    segmentation = hd.seg.segread(path)
    uids = [source.SOPInstanceUID for source in sources]
    image = formats.read_image(folder)[0]
    found = segmentation.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True,
                                                       assert_missing_frames_are_empty=True)  # fmt: skip
    order = [int(np.flatnonzero((image[0] == source.pixel_array).all((1, 2)))[0]) for source in sources]
    np.testing.assert_array_equal(np.array(LABELS.values)[found], drawn[order])
    plain = pydicom.dcmread(path)
    assert plain.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert plain.SegmentationType == "BINARY"
    assert [item.SegmentLabel for item in plain.SegmentSequence] == ["LV", "Tumour", "flurble"]
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in plain.SegmentSequence] == [
        "87878005",
        "108369006",
        "85756007",
    ]
    assert {item.SegmentAlgorithmType for item in plain.SegmentSequence} == {"AUTOMATIC"}
    assert plain.ReferencedSeriesSequence[0].SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert plain.pixel_array.sum() == (drawn > 0).sum()


def test_equal_masks_have_equal_identifiers(dicoms) -> None:
    folder = dicoms.series("ct", VOLUME, affine())
    uids = [pydicom.dcmread(written(dicoms, folder, mask(seed))).SOPInstanceUID for seed in (1, 1, 2)]
    assert uids[0] == uids[1] != uids[2]


def test_an_enhanced_file_and_a_mask_that_is_empty(dicoms) -> None:
    path = dicoms.multiframe("mr.dcm", VOLUME, affine(), order=np.array([3, 0, 5, 1, 4, 2]))
    drawn = mask()
    out = dicoms.root / "masks" / "seg.dcm"
    formats.write_mask(out, drawn, formats.read_header(path).grid, path, LABELS)
    np.testing.assert_array_equal(formats.read_mask(out, path)[0], drawn)
    formats.write_mask(out, np.zeros_like(drawn), formats.read_header(path).grid, path, LABELS)
    assert not formats.read_mask(out, path)[0].any()


def test_a_segmentation_beside_its_series_is_its_mask(dicoms) -> None:
    for name in ("p0", "p1"):
        dicoms.series(f"{name}/ct", VOLUME, affine(), PatientID=name)
    formats.write_mask(
        dicoms.root / "p1" / "seg.dcm", mask(), formats.read_header(dicoms.root / "p1" / "ct").grid,
        dicoms.root / "p1" / "ct", LABELS,
    )  # fmt: skip
    cases = {case.id: case for case in find_cases(dicoms.root)[2].cases}
    assert (cases["p0"].label, cases["p1"].label) == (None, dicoms.root / "p1" / "seg.dcm")
    catalogue = scan(dicoms.root, quiet=True)
    assert dict(zip(catalogue.labels.names, catalogue.labels.values, strict=True)) == {
        "background": 0, "LV": 7, "Tumour": 200, "flurble": 201,
    }  # fmt: skip


def test_what_cannot_be_written_or_read(dicoms) -> None:
    folder = dicoms.series("ct", VOLUME, affine())
    other = dicoms.series("other", VOLUME, affine(OBLIQUE[:, [1, 0, 2]]))
    path = written(dicoms, folder, mask())
    with pytest.raises(DataError, match=r"seg.dcm: (frame 1 lies on no slice of the image|slices of)"):
        formats.read_mask(path, other)
    with pytest.raises(SettingsError, match="a DICOM-SEG belongs to a DICOM series"):
        formats.write_mask(dicoms.root / "x.dcm", mask(), formats.read_header(folder).grid, None)
    with pytest.raises(DataError, match="differ; predict again"):
        formats.write_mask(dicoms.root / "x.dcm", mask()[:2], formats.read_header(folder).grid, folder)
    assert not (dicoms.root / "x.dcm").exists()


@pytest.mark.parametrize("name, value", [("Left atrium", "82471001"), ("rv", "53085002"), ("pancreas", "15776009")])
def test_structures_by_their_names(name, value) -> None:
    assert structure_code(name)[1].value == value
    assert structure_code(name)[0].meaning == "Anatomical Structure"


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_other_kinds_of_segmentation(dicoms, kind) -> None:
    folder = dicoms.series("ct", VOLUME, affine())
    series = series_at(folder)
    sources = [pydicom.dcmread(one.instance.path) for one in series.slices]
    described = [
        hd.seg.SegmentDescription(number, name, ANATOMY, ANATOMY, "MANUAL") for number, name in ((1, "one"), (2, "two"))
    ]
    drawn = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    pixels = drawn
    if kind == "FRACTIONAL":
        pixels = np.stack([np.where(drawn == number, 0.7, 0.3) for number in (1, 2)], -1)
    made = hd.seg.Segmentation(
        sources, pixels, kind, described, hd.UID(), 1, hd.UID(), 1, "none", "none", "1", "0", max_fractional_value=255
    )
    made.save_as(dicoms.root / "seg.dcm")
    np.testing.assert_array_equal(formats.read_mask(dicoms.root / "seg.dcm", folder)[0], drawn)
    assert formats.mask_names(dicoms.root / "seg.dcm") == {"one": 1, "two": 2}


def test_of_nested_segments_the_inner_counts(dicoms) -> None:
    folder = dicoms.series("ct", VOLUME, affine())
    sources = [pydicom.dcmread(one.instance.path) for one in series_at(folder).slices]
    described = [
        hd.seg.SegmentDescription(number, name, ANATOMY, ANATOMY, "MANUAL")
        for number, name in ((1, "cyst"), (2, "liver"))
    ]
    layers = np.zeros((*SHAPE, 2), np.uint8)
    layers[1:4, 2:5, 2:5, 0] = 1
    layers[1:5, 1:7, 1:6, 1] = 1

    def saved():
        made = hd.seg.Segmentation(
            sources, layers, "BINARY", described, hd.UID(), 1, hd.UID(), 1, "none", "none", "1", "0"
        )
        made.save_as(dicoms.root / "seg.dcm")
        return formats.read_mask(dicoms.root / "seg.dcm", folder)[0]

    np.testing.assert_array_equal(saved(), np.where(layers[..., 0], 1, 2 * layers[..., 1]))
    layers[1:3, 0:4, 0:4, 0] = 1  # beyond the liver
    with pytest.raises(DataError, match=r"segment '(cyst|liver)' overlaps another by \d+ of \d+ voxels"):
        saved()
