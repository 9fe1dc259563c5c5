"""Pictures: every mode Pillow can store that has one meaning, and refusal of the rest."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fewmask.data import raster
from fewmask.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (17, 23)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (17, 23)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (17, 23, 3)).astype(np.uint8)


def saved(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_grey_and_colour_are_read_exactly(tmp_path, name):
    path = saved(tmp_path / name, GREY)
    image, grid = raster.read_image(path)
    assert (image.dtype, grid.shape, grid.spacing_mm, grid.planar) == (np.float32, (1, 17, 23), None, True)
    np.testing.assert_array_equal(image, GREY[None, None])
    mask, _ = raster.read_mask(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[0], GREY)
    header = raster.read_header(path)
    assert (header.channels, header.grid) == (1, grid)
    saved(path, COLOUR)
    assert raster.read_header(path).channels == 3
    np.testing.assert_array_equal(raster.read_image(path)[0][:, 0], COLOUR.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_kept(tmp_path, name):
    path = saved(tmp_path / name, DEEP)
    np.testing.assert_array_equal(raster.read_image(path)[0][0, 0], DEEP)
    mask, _ = raster.read_mask(path)
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask[0], DEEP)


def test_floats_must_be_finite(tmp_path):
    values = GREY.astype(np.float32) / 7
    path = saved(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(raster.read_image(path)[0][0, 0], values)
    values[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        raster.read_image(saved(path, values))


def test_black_and_white_is_zero_and_one(tmp_path):
    path = saved(tmp_path / "a.png", GREY > 128)
    mask, _ = raster.read_mask(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[0], GREY > 128)


def test_jpeg_masks_are_readable(tmp_path):
    path = saved(tmp_path / "a.jpg", np.where(GREY > 128, 255, 0).astype(np.uint8), quality=60)
    mask, _ = raster.read_mask(path)
    assert mask.shape == (1, 17, 23)
    assert len(np.unique(mask)) > 2  # smeared: the scan's business
    assert raster.read_header(saved(tmp_path / "b.jpeg", COLOUR)).channels == 3


def test_palettes_are_indices_in_masks_and_colours_in_images(tmp_path):
    indices = (GREY % 5).astype(np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    picture = Image.fromarray(indices).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_mask(tmp_path / "a.png")[0][0], indices)
    assert raster.read_header(tmp_path / "a.png").channels == 3
    np.testing.assert_array_equal(raster.read_image(tmp_path / "a.png")[0][:, 0], colours[indices].transpose(2, 0, 1))
    picture.putpalette(np.repeat(np.arange(0, 250, 50), 3).tolist())
    picture.save(tmp_path / "b.png")
    assert raster.read_header(tmp_path / "b.png").channels == 1
    np.testing.assert_array_equal(raster.read_image(tmp_path / "b.png")[0][0, 0], indices * 50)


def test_masks_with_three_equal_channels_are_grey(tmp_path):
    path = saved(tmp_path / "a.png", np.repeat(GREY[..., None], 3, axis=-1))
    np.testing.assert_array_equal(raster.read_mask(path)[0][0], GREY)
    with pytest.raises(DataError, match="mask in colours"):
        raster.read_mask(saved(path, COLOUR))


@pytest.mark.parametrize("colour", [False, True])
def test_alpha_is_dropped_only_where_it_says_nothing(tmp_path, colour):
    base = COLOUR if colour else GREY[..., None]
    alpha = np.full((17, 23, 1), 255, np.uint8)
    path = saved(tmp_path / "a.png", np.concatenate([base, alpha], axis=-1))
    assert raster.read_header(path).channels == base.shape[-1]
    np.testing.assert_array_equal(raster.read_image(path)[0][:, 0], base.transpose(2, 0, 1))
    if not colour:
        np.testing.assert_array_equal(raster.read_mask(path)[0][0], GREY)
    alpha[2, 2] = 100
    saved(path, np.concatenate([base, alpha], axis=-1))
    for read in (raster.read_image, raster.read_mask):
        with pytest.raises(DataError, match="transparent"):
            read(path)


def test_a_16_bit_colour_mask_is_refused(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + bytes(2 * 6)) * 2)
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with pytest.raises(DataError, match="16-bit colours"):
        raster.read_mask(path)


def test_what_has_no_single_meaning_is_refused(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="mode CMYK"):
        raster.read_image(tmp_path / "a.jpg")
    pages = [Image.fromarray(GREY)] * 3
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="3 pages"):
        raster.read_header(tmp_path / "b.tif")
    exif = Image.Exif()
    exif[raster.ORIENTATION_TAG] = 6
    with pytest.raises(DataError, match="rotated"):
        raster.read_image(saved(tmp_path / "c.jpg", GREY, exif=exif))
    saved(tmp_path / "d.gif", GREY)
    (tmp_path / "d.gif").rename(tmp_path / "d.png")
    with pytest.raises(DataError, match="not a PNG"):
        raster.read_header(tmp_path / "d.png")


@pytest.mark.parametrize("limit", [300, 150])
def test_bombs_are_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # the picture has 391
    with pytest.raises(DataError, match=f"over {limit} pixels"):
        raster.read_header(saved(tmp_path / "a.png", GREY))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about metadata it skips
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_broken_pictures(tmp_path, name):
    whole = saved(tmp_path / name, np.repeat(COLOUR, 4, axis=0)).read_bytes()
    path = tmp_path / name
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:30]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            raster.read_image(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        raster.read_header(tmp_path / "absent.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about metadata it skips
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_random_damage_ends_in_a_data_error_or_an_array(tmp_path, name):
    whole = saved(tmp_path / name, GREY).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for position in rng.integers(0, len(whole), 4):
            content[position] = rng.integers(256)
        (tmp_path / name).write_bytes(content)
        try:
            raster.read_image(tmp_path / name)
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.tif", "TIFF")])
@pytest.mark.parametrize("values", [GREY, DEEP])
def test_written_masks_come_back(tmp_path, name, kind, values):
    with (tmp_path / name).open("wb") as stream:
        raster.write_mask(stream, values[None], kind)
    mask, _ = raster.read_mask(tmp_path / name)
    assert mask.dtype == values.dtype
    np.testing.assert_array_equal(mask[0], values)
