"""MetaImage: what SimpleITK writes is read; an .mhd leads to no other folder; damage."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from fewmask.data import formats
from fewmask.errors import DataError

SHAPE = (3, 7, 5)
DIRECTION = np.linalg.qr(np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]]))[0]


def image(values: np.ndarray, channels: bool = False) -> sitk.Image:
    made = sitk.GetImageFromArray(values, isVector=channels)
    made.SetSpacing((1.25, 1.5, 4.0))
    made.SetDirection(DIRECTION.ravel().tolist())
    made.SetOrigin((-11.5, 7.25, 101))
    return made


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_reads_what_simpleitk_writes(tmp_path, kind, packed, name) -> None:
    values = np.random.default_rng(1).integers(0, 200, SHAPE).astype(kind)
    sitk.WriteImage(image(values), str(tmp_path / name), packed)
    found, grid = formats.read_image(tmp_path / name)
    np.testing.assert_array_equal(found[0], values)
    affine = np.eye(4)
    affine[:3, :3] = DIRECTION * [1.25, 1.5, 4.0]
    affine[:3, 3] = (-11.5, 7.25, 101)
    np.testing.assert_allclose(grid.affine, (np.diag([-1.0, -1, 1, 1]) @ affine)[:, [2, 1, 0, 3]], atol=1e-6)
    assert formats.read_mask(tmp_path / name)[0].dtype == kind
    assert formats.read_header(tmp_path / name).grid == grid


def test_channels_and_pictures(tmp_path) -> None:
    values = np.random.default_rng(1).integers(0, 200, (*SHAPE, 3)).astype(np.uint8)
    sitk.WriteImage(image(values, channels=True), str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(formats.read_image(tmp_path / "a.mha")[0], np.moveaxis(values, -1, 0))
    with pytest.raises(DataError, match="a mask with 3 channels"):
        formats.read_mask(tmp_path / "a.mha")
    sitk.WriteImage(sitk.GetImageFromArray(values[0, :, :, 0]), str(tmp_path / "b.mha"))
    header = formats.read_header(tmp_path / "b.mha")
    assert (header.grid.planar, header.grid.shape) == (True, (1, 7, 5))


@pytest.mark.parametrize("word", ["True", "true", "1"])
def test_voxels_behind_a_foreign_header_and_with_the_high_byte_first(tmp_path, word) -> None:
    """HeaderSize -1: the voxels are the last bytes of the file.  SimpleITK reads the same."""
    values = np.random.default_rng(1).integers(0, 20_000, SHAPE).astype(">i2")
    (tmp_path / "a.raw").write_bytes(b"some scanner's header" + values.tobytes())
    head = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 5 7 3\nElementType = MET_SHORT\n"
    head += f"BinaryDataByteOrderMSB = {word}\nHeaderSize = -1\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(head)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mhd"))), values)
    np.testing.assert_array_equal(formats.read_image(tmp_path / "a.mhd")[0][0], values)


HEAD = "ObjectType = Image\nNDims = 3\nDimSize = 5 7 3\nElementType = MET_UCHAR\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("nothing", "not a MetaImage file"),
        (HEAD + "ElementDataFile = ../secret.raw\n", "may only name a file beside it"),
        (HEAD + "ElementDataFile = /etc/passwd\n", "may only name a file beside it"),
        (HEAD + "ElementDataFile = LIST\n", "may only name a file beside it"),
        (HEAD + "ElementDataFile = gone.raw\n", "are not beside it"),
        (HEAD + "ElementDataFile = LOCAL\nxx", "2 bytes cannot hold the 105"),
        (HEAD.replace("5 7 3", "5 -7 3") + "ElementDataFile = LOCAL\n", "DimSize 5 -7 3"),
        (HEAD.replace("5 7 3", "9e9 9e9 9e9") + "ElementDataFile = LOCAL\n", "the header is damaged"),
        (HEAD.replace("MET_UCHAR", "MET_OTHER") + "ElementDataFile = LOCAL\n", "ElementType MET_OTHER"),
        (HEAD + "ElementSpacing = 0 1 1\nElementDataFile = LOCAL\n" + "x" * 105, "do not fit 3 axes"),
        (HEAD + "ElementSpacing = nan 1 1\nElementDataFile = LOCAL\n" + "x" * 105, "expected finite numbers"),
        (HEAD + "BinaryData = False\nElementDataFile = LOCAL\n" + "1 " * 105, "voxels written as text"),
        (HEAD + "CompressedData = True\nElementDataFile = LOCAL\n" + "x" * 105, "damaged"),
    ],
)
def test_damage_is_named(tmp_path, text, message) -> None:
    path = tmp_path / "a.mha"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        formats.read_mask(path)
