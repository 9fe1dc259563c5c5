"""NRRD: what SimpleITK writes is read, what is written SimpleITK reads; segments with their names; damage."""

from __future__ import annotations

import gzip

import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk

from fewmask.data import formats
from fewmask.data.grid import Grid
from fewmask.errors import DataError
from fewmask.types import LabelSet

SHAPE = (3, 7, 5)
LABELS = LabelSet(names=("background", "left\nlung", "artery"), values=(0, 7, 200))
OBLIQUE = np.linalg.qr(np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]]))[0]
AFFINE = np.eye(4)
AFFINE[:3, :3] = OBLIQUE * [4.0, 1.5, 1.25]
AFFINE[:3, 3] = (-11.5, 7.25, 101)
GRID = Grid(shape=SHAPE, spacing_mm=(4, 1.5, 1.25), affine=AFFINE)
MASK = np.random.default_rng(0).choice(np.array(LABELS.values, np.uint8), SHAPE)


def itk_image(values: np.ndarray, affine: np.ndarray = AFFINE) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    lps = (np.diag([-1.0, -1, 1, 1]) @ affine)[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_reads_what_simpleitk_writes(tmp_path, kind, packed) -> None:
    values = np.random.default_rng(1).integers(0, 200, SHAPE).astype(kind)
    sitk.WriteImage(itk_image(values), str(tmp_path / "a.nrrd"), packed)
    image, grid = formats.read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image[0], values)
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-6)
    assert formats.read_header(tmp_path / "a.nrrd").grid == grid
    mask, _ = formats.read_mask(tmp_path / "a.nrrd")
    assert mask.dtype == kind


def test_several_channels(tmp_path) -> None:
    values = np.random.default_rng(1).integers(0, 200, (*SHAPE, 4)).astype(np.uint8)
    image = sitk.GetImageFromArray(values, isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    found, grid = formats.read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found, np.moveaxis(values, -1, 0))
    assert (formats.read_header(tmp_path / "a.nrrd").channels, grid.shape) == (4, SHAPE)


def test_colours_of_one_slice_are_a_picture_and_no_volume(tmp_path) -> None:
    values = np.random.default_rng(1).integers(0, 200, (7, 5, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=True), str(tmp_path / "a.nrrd"))
    found, grid = formats.read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found[:, 0], np.moveaxis(values, -1, 0))
    assert (formats.read_header(tmp_path / "a.nrrd").channels, grid.shape, grid.planar) == (3, (1, 7, 5), True)


@pytest.mark.parametrize("space", [{"space": "scanner-xyz"}, {"space dimension": 3}])
def test_a_space_that_knows_no_patient_still_has_a_spacing(tmp_path, space) -> None:
    directions = {"space directions": np.diag([1.25, 1.5, 4.0]), "space origin": [0, 0, 0]}
    pynrrd.write(str(tmp_path / "a.nrrd"), np.zeros(SHAPE[::-1], np.uint8), space | directions)
    grid = formats.read_header(tmp_path / "a.nrrd").grid
    assert (grid.shape, grid.spacing_mm, grid.affine) == (SHAPE, (4.0, 1.5, 1.25), None)


def test_segmentations_come_back_and_others_read_them(tmp_path) -> None:
    path = tmp_path / "a.seg.nrrd"
    formats.write_mask(path, MASK, GRID, None, LABELS)
    assert formats.stem(path) == "a"
    mask, grid = formats.read_mask(path)
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-12)
    assert formats.mask_names(path) == {"left lung": 7, "artery": 200}
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), MASK)
    np.testing.assert_allclose(np.array(image.GetDirection()), np.array(itk_image(MASK).GetDirection()), atol=1e-9)
    np.testing.assert_allclose(image.GetOrigin(), itk_image(MASK).GetOrigin(), atol=1e-9)
    assert image.GetMetaData("Segment1_Name") == "artery"
    assert image.GetMetaData("Segment1_LabelValue") == "200"


def test_without_a_place_the_spacing_stays(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    formats.write_mask(path, MASK, Grid(shape=SHAPE, spacing_mm=(4, 1.5, 1.25)), None, LABELS)
    mask, grid = formats.read_mask(path)
    assert (grid.spacing_mm, grid.affine) == ((4, 1.5, 1.25), None)
    np.testing.assert_array_equal(mask, MASK)


def layered(path, second_value: str, overlap: bool = False) -> None:
    """Two segments in two layers, as Slicer writes structures that may overlap."""
    first = np.zeros(SHAPE, np.uint8)
    first[0] = 1
    second = np.zeros(SHAPE, np.uint8)
    second[0 if overlap else 1] = int(second_value)
    header = {"space": "left-posterior-superior", "kinds": ["list", "domain", "domain", "domain"]}
    header["space directions"] = np.array([[np.nan] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 2]])
    header["space origin"] = np.zeros(3)
    for index, value in enumerate(("1", second_value)):
        header |= {f"Segment{index}_ID": f"s{index}", f"Segment{index}_Name": f"name {index}"}
        header |= {f"Segment{index}_LabelValue": value, f"Segment{index}_Layer": str(index)}
    pynrrd.write(str(path), np.stack([first.T, second.T]), header)


def test_layers_become_one_map_or_are_refused(tmp_path) -> None:
    layered(tmp_path / "a.seg.nrrd", "2")
    mask, grid = formats.read_mask(tmp_path / "a.seg.nrrd")
    assert [int(mask[z].max()) for z in range(3)] == [1, 2, 0]
    np.testing.assert_allclose(grid.spacing_mm, (2, 1, 1))
    layered(tmp_path / "b.seg.nrrd", "1")
    with pytest.raises(DataError, match="share a value; in Slicer, collapse"):
        formats.read_mask(tmp_path / "b.seg.nrrd")
    layered(tmp_path / "c.seg.nrrd", "2", overlap=True)
    with pytest.raises(DataError, match="segment 'name 1' overlaps another"):
        formats.read_mask(tmp_path / "c.seg.nrrd")


HEAD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 7 3\nencoding: raw\n"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"NRRX", "not a NRRD file"),
        (b"NRRD0004\n\n", "broken header|no 'sizes'|in the header"),
        (HEAD.replace("uint8", "block").encode() + b"\n", "in the header|broken"),
        (HEAD.replace("5 7 3", "99999 99999 9").encode() + b"\n", "the header gives shape"),
        (HEAD.replace("5 7 3", "5 7").encode() + b"\n", "broken header|shape"),
        (HEAD.encode() + b"\n" + bytes(50), "50 bytes cannot hold the 105"),
        (HEAD.encode() + b"data file: /etc/passwd\n\n", "in another file"),
        (HEAD.encode() + b"byte skip: 7\n\n" + bytes(200), "skipped lines or bytes"),
        (HEAD.replace("raw", "hex").encode() + b"\n" + bytes(500), "encoding 'hex'"),
        (HEAD.replace("raw", "gzip").encode() + b"\n" + gzip.compress(bytes(60), mtime=0), "60 bytes where .* 105"),
        (HEAD.replace("raw", "gzip").encode() + b"\n" + bytes(200), "damaged"),
        (
            (HEAD + "space: left-posterior-superior\nspace directions: (1,0,0) (2,0,0) (0,0,1)\n").encode()
            + b"space origin: (0,0,0)\n\n" + bytes(105), "cannot be inverted",
        ),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path, content, message) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        formats.read_mask(path)


def test_a_bomb_is_unpacked_no_further_than_the_header_promises(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(HEAD.replace("raw", "gzip").encode() + b"\n" + gzip.compress(bytes(2**26), mtime=0))
    mask, _ = formats.read_mask(path)
    assert not mask.any()
