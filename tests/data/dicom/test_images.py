"""DICOM series: every order and direction, tilt, multi-frame files, pictures; against SimpleITK where it reads them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from fewmask.data import formats
from fewmask.data.grid import orientation
from fewmask.errors import DataError

OBLIQUE = np.linalg.qr(np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]]))[0]
SHAPE = (5, 9, 7)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine(directions: np.ndarray = OBLIQUE, spacing=(4.0, 1.5, 1.25)) -> np.ndarray:
    """Index (d, h, w) -> RAS mm."""
    placed = np.eye(4)
    placed[:3, :3] = directions * spacing
    placed[:3, 3] = (-11.5, 7.25, 101)
    return placed


def values(shape=SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-900, 900, shape).astype(np.int16)


def by_simpleitk(folder) -> tuple[np.ndarray, np.ndarray]:
    """The volume (z, y, x) and its affine, index (d, h, w) -> RAS mm, as SimpleITK has them."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), (RAS_TO_LPS @ lps)[:, [2, 1, 0, 3]]


@pytest.mark.parametrize("order, signs", [*product(permutations(range(3)), [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])])
def test_every_direction_is_read_as_simpleitk_reads_it(dicoms, order, signs) -> None:
    directions = OBLIQUE[:, order] * signs
    shuffled = np.random.default_rng(1).permutation(SHAPE[0])
    folder = dicoms.series("ct", values(), affine(directions), order=shuffled, RescaleSlope="2", RescaleIntercept="-3")
    image, grid = formats.read_image(folder)
    expected, place = by_simpleitk(folder)
    np.testing.assert_array_equal(image[0], expected)
    np.testing.assert_allclose(grid.affine, place, atol=1e-6)
    # and as it was written, up to the direction in which slices are counted
    flipped = np.dot(np.cross(directions[:, 2], directions[:, 1]), directions[:, 0]) < 0
    np.testing.assert_array_equal(image[0], (values()[::-1] if flipped else values()) * 2.0 - 3)


def test_a_folder_and_each_of_its_files_stand_for_the_series(dicoms) -> None:
    folder = dicoms.series("ct", values(), affine())
    header = formats.read_header(folder)
    assert (header.channels, header.grid.shape) == (1, SHAPE)
    np.testing.assert_allclose(header.grid.spacing_mm, (4, 1.5, 1.25), atol=1e-9)
    for path in sorted(folder.iterdir()):
        np.testing.assert_array_equal(formats.read_image(path)[0], formats.read_image(folder)[0])
    assert formats.state(folder)[0] == sum(path.stat().st_size for path in folder.iterdir())


def test_files_without_an_ending_are_known_by_their_content(dicoms) -> None:
    folder = dicoms.series("ct", values(), affine(), suffix="")
    assert formats.read_image(folder / "0002")[0].shape == (1, *SHAPE)


def test_a_tilted_gantry_stays_in_the_affine_as_shear(dicoms) -> None:
    tilted = affine(np.array([[0, 0, -1.0], [0, -1, 0], [1, 0.0, 0]]))
    tilted[1, 0] = 4 * np.tan(np.radians(15))
    image, grid = formats.read_image(dicoms.series("ct", values(), tilted))
    np.testing.assert_allclose(grid.affine, tilted, atol=1e-6)
    np.testing.assert_array_equal(image[0], values())


def test_multi_frame_files_with_a_rescale_of_their_own(dicoms) -> None:
    path = dicoms.multiframe("mr.dcm", values(), affine(), order=np.array([3, 0, 4, 1, 2]))
    image, grid = formats.read_image(path)
    down = np.dot(np.cross(OBLIQUE[:, 2], OBLIQUE[:, 1]), OBLIQUE[:, 0]) < 0
    np.testing.assert_array_equal(image[0], 2.0 * (values()[::-1] if down else values()) - 3)
    assert grid.shape == SHAPE
    assert np.isclose(abs(np.linalg.det(grid.affine)), 4 * 1.5 * 1.25)


def test_a_radiograph_is_a_picture_with_its_own_spacing(dicoms) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (11, 13)).astype(np.uint16)
    data = dicoms.picture(pixels, Modality="DX", ImagerPixelSpacing=["0.2", "0.3"])
    data.BitsStored, data.HighBit = 12, 11
    image, grid = formats.read_image(dicoms.save(data, dicoms.root / "chest"))
    assert (grid.planar, grid.shape, grid.spacing_mm, grid.affine) == (True, (1, 11, 13), (1.0, 0.2, 0.3), None)
    np.testing.assert_array_equal(image[0, 0], pixels)
    data.PhotometricInterpretation = "MONOCHROME1"
    turned, _ = formats.read_image(dicoms.save(data, dicoms.root / "other" / "chest"))
    np.testing.assert_array_equal(turned[0, 0], 4095 - pixels)


def test_a_colour_secondary_capture_has_three_channels(dicoms) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 3)).astype(np.uint8)
    image, grid = formats.read_image(dicoms.save(dicoms.picture(pixels), dicoms.root / "capture.dcm"))
    np.testing.assert_array_equal(image[:, 0].transpose(1, 2, 0), pixels)
    assert grid.spacing_mm is None


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels_are_the_same(dicoms, syntax) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (32, 48)).astype(np.uint16)
    data = dicoms.picture(pixels)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.compress(syntax, generate_instance_uid=False)
    image, _ = formats.read_image(dicoms.save(data, dicoms.root / "packed.dcm", syntax))
    np.testing.assert_array_equal(image[0, 0], pixels)


def test_a_mask_predicted_on_the_oriented_grid_comes_back_onto_the_slices(dicoms, tmp_path) -> None:
    folder = dicoms.series("ct", values(), affine())
    image, grid = formats.read_image(folder)
    turn = orientation(grid, slices=False)
    mask = (turn.undo(turn.apply(image[0])) > 0).astype(np.uint8)
    formats.write_mask(tmp_path / "mask.nii.gz", mask, grid, folder)
    again, place = formats.read_mask(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(again, image[0] > 0)
    np.testing.assert_allclose(place.affine, grid.affine, atol=1e-5)


@pytest.mark.parametrize(
    "tags, message",
    [
        ({"Rows": 10}, "cut short"),
        ({"Rows": 60000, "Columns": 60000}, "it is damaged"),
        ({"NumberOfFrames": 2_000_000}, "it is damaged"),
        ({"BitsAllocated": 12}, "at 12 bits"),
        ({"SamplesPerPixel": 4}, "4 samples a pixel|cut short"),
        ({"PixelSpacing": ["0", "1"]}, "must be positive"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "no pair of right-angled"),
        ({"RescaleSlope": "0"}, "rescale slope 0"),
    ],
)
def test_broken_headers_are_named(dicoms, tags, message) -> None:
    folder = dicoms.series("ct", values(), affine(), **tags)
    with pytest.raises(DataError, match=message):
        formats.read_header(folder / "0000.dcm")


def test_no_pixels_no_image(dicoms) -> None:
    data = dicoms.picture(values((4, 5)), Modality="SR")
    del data.Rows, data.PixelData
    with pytest.raises(DataError, match=r"plan.dcm: no picture in it \(SR\)"):
        formats.read_image(dicoms.save(data, dicoms.root / "plan.dcm"))


def test_several_series_in_a_folder_want_a_choice(dicoms) -> None:
    dicoms.series("ct", values(), affine())
    for path in sorted(dicoms.series("other", values(), affine()).iterdir()):
        path.rename(dicoms.root / "ct" / f"other {path.name}")
    with pytest.raises(DataError, match=r"ct: 2 series in one folder; give a file of the one you mean"):
        formats.read_header(dicoms.root / "ct")
    assert formats.read_header(dicoms.root / "ct" / "other 0003.dcm").grid.shape == SHAPE
