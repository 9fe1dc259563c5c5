"""NIfTI: what nibabel writes is read exactly; damaged files end in one line that says what to do."""

import gzip
import itertools
import struct

import nibabel as nib
import numpy as np
import pytest

from fewmask.data import nifti
from fewmask.errors import DataError

SHAPE_XYZ = (5, 4, 3)
AFFINE = np.array([[-0.79, 0.1, 0.9, 12], [0.12, 1.48, 0.3, -40], [-0.1, -0.2, 6.9, 7], [0, 0, 0, 1.0]])


def volume(kind=np.int16, shape=SHAPE_XYZ):
    return np.random.default_rng(0).integers(0, 200, shape).astype(kind)


def saved(path, data=None, affine=AFFINE, kind=nib.Nifti1Image, **fields):
    """A file written by nibabel, then its header fields overwritten."""
    image = kind(volume() if data is None else data, affine)
    content = image.to_bytes()
    header = raw_header(content)
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[len(header.binaryblock) :]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def raw_header(content):
    """The header as stored; nib.load would hide the slope."""
    kind = nib.Nifti1Header if content[0] == 92 else nib.Nifti2Header
    return kind(content[: kind.sizeof_hdr], check=False)


def patched(path, offset, layout, *values):
    """`path` (uncompressed) with bytes of its header replaced."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("image_kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("kind", ["u1", "<i2", ">i2", "<u2", "<i4", ">f4", "<f8"])
def test_reads_what_nibabel_writes(tmp_path, name, image_kind, kind):
    header = image_kind.header_class(endianness=">" if kind.startswith(">") else "<")
    header.set_data_dtype(np.dtype(kind))
    path = tmp_path / name
    image_kind(volume(np.dtype(kind).newbyteorder("=")), AFFINE, header).to_filename(path)
    image, grid = nifti.read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, volume().T[None])
    np.testing.assert_allclose(grid.affine[:, [2, 1, 0, 3]], AFFINE, atol=1e-5)
    np.testing.assert_allclose(grid.spacing_mm[::-1], nib.affines.voxel_sizes(AFFINE), atol=1e-6)
    described = nifti.read_header(path)
    assert (described.channels, described.grid) == (1, grid)
    mask, _ = nifti.read_mask(path)
    assert mask.dtype == np.dtype(kind).newbyteorder("=")
    assert mask.flags.c_contiguous
    np.testing.assert_array_equal(mask, volume().T)


def test_channels_come_last_in_the_file_and_first_in_the_array(tmp_path):
    data = volume(shape=(5, 4, 3, 2))
    path = saved(tmp_path / "a.nii.gz", data)
    image, grid = nifti.read_image(path)
    assert (image.shape, grid.shape, nifti.read_header(path).channels) == ((2, 3, 4, 5), (3, 4, 5), 2)
    np.testing.assert_array_equal(image, data.T)
    vector = saved(tmp_path / "b.nii.gz", data[:, :, :, None])
    np.testing.assert_array_equal(nifti.read_image(vector)[0], data.T)
    with pytest.raises(DataError, match="mask with 2 channels"):
        nifti.read_mask(path)


def test_two_axes_make_one_slice(tmp_path):
    path = saved(tmp_path / "a.nii.gz", volume(shape=(5, 4)))
    image, grid = nifti.read_image(path)
    assert (image.shape, grid.shape, grid.planar) == ((1, 1, 4, 5), (1, 4, 5), True)


def test_slope_and_intercept_scale(tmp_path):
    path = patched(saved(tmp_path / "a.nii"), 112, "<ff", 0.5, -3)
    np.testing.assert_allclose(nifti.read_image(path)[0], volume().T[None] * 0.5 - 3)
    np.testing.assert_allclose(nifti.read_mask(path)[0], nib.load(path).get_fdata().T)


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (np.nan, np.nan), (1, 0), (0, 5)])
def test_neutral_slopes_leave_the_type(tmp_path, slope, intercept):
    path = patched(saved(tmp_path / "a.nii"), 112, "<ff", slope, intercept)
    assert nifti.read_mask(path)[0].dtype == np.int16


def test_unknown_orientation_keeps_only_the_spacing(tmp_path):
    path = saved(tmp_path / "a.nii.gz", sform_code=0, qform_code=0, pixdim=[1, 0.5, 1.5, 7, 1, 1, 1, 1])
    grid = nifti.read_header(path).grid
    assert (grid.spacing_mm, grid.affine) == ((7, 1.5, 0.5), None)


def test_qform_counts_where_there_is_no_sform(tmp_path):
    rotation = nib.eulerangles.euler2mat(0.2, 0.3, 0.1) * (0.8, 1.5, 7)
    affine = nib.affines.from_matvec(rotation, [12, -40, 7])
    path = saved(tmp_path / "a.nii.gz", affine=affine, sform_code=0)
    image = nib.load(path)
    image.set_qform(affine, code=1)
    image.set_sform(None)
    image.to_filename(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(nifti.read_header(tmp_path / "b.nii.gz").grid.affine[:, [2, 1, 0, 3]], affine, atol=1e-5)


def test_metres_and_micrometres_become_mm(tmp_path):
    for unit, factor in (("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)):
        image = nib.Nifti1Image(volume(), np.diag([2.0, 3, 4, 1]))
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / f"{unit}.nii")
        grid = nifti.read_header(tmp_path / f"{unit}.nii").grid
        np.testing.assert_allclose(grid.spacing_mm, np.array([4, 3, 2]) * factor)
        np.testing.assert_allclose(np.diag(grid.affine[:, [2, 1, 0, 3]])[:3], np.array([2, 3, 4]) * factor)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("image_kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_written_masks_keep_the_geometry_bit_for_bit(tmp_path, suffix, image_kind):
    codes = list(itertools.product((0, 1, 3), (0, 2)))
    for number, (sform, qform) in enumerate(codes):
        like = tmp_path / f"like{number}.{suffix}"
        saved(like, kind=image_kind, sform_code=sform, qform_code=qform, xyzt_units=10)
        mask, grid = nifti.read_mask(like)
        out = tmp_path / f"out{number}.{suffix}"
        packed = suffix == "nii.gz"
        with out.open("wb") as stream:
            nifti.write(stream, mask.astype(np.uint8), grid, like, label=True, compressed=packed)
        old, new = nib.load(like), nib.load(out)
        for field in (*nifti.COPIED, "pixdim", "dim"):
            np.testing.assert_array_equal(new.header[field], old.header[field], err_msg=field)
        stored = raw_header(gzip.decompress(out.read_bytes()) if packed else out.read_bytes())
        assert (stored["scl_slope"], stored["scl_inter"]) == (1, 0)
        assert (int(new.header["intent_code"]), new.get_data_dtype()) == (1002, np.uint8)
        np.testing.assert_array_equal(new.affine, old.affine)
        back, grid_back = nifti.read_mask(out)
        np.testing.assert_array_equal(back, mask)
        assert grid_back == grid
    assert len(codes) == 6


def test_a_flat_image_gets_a_flat_mask(tmp_path):
    like = saved(tmp_path / "a.nii", volume(shape=(5, 4)))
    mask, grid = nifti.read_mask(like)
    with (tmp_path / "b.nii").open("wb") as stream:
        nifti.write(stream, mask.astype(np.uint8), grid, like, label=True, compressed=False)
    assert nib.load(tmp_path / "b.nii").shape == (5, 4)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").affine, nib.load(like).affine)


def test_equal_masks_give_equal_bytes(tmp_path):
    like = saved(tmp_path / "a.nii")
    mask, grid = nifti.read_mask(like)
    for name in ("b", "c"):
        with (tmp_path / name).open("wb") as stream:
            nifti.write(stream, mask, grid, like, label=True, compressed=True)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_text_named_nii_gz(tmp_path):
    for name, content in (("a.nii.gz", b"hello"), ("b.nii", b"<html>" * 200), ("c.nii.gz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a NIfTI file"):
            nifti.read_header(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        nifti.read_header(tmp_path / "absent.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_cut_short_anywhere(tmp_path, name):
    whole = saved(tmp_path / name, volume(shape=(23, 17, 9))).read_bytes()
    for share in (0.02, 0.3, 0.6, 0.98):
        path = tmp_path / f"{share}{name}"
        path.write_bytes(whole[: int(share * len(whole))])
        for read in (nifti.read_header, nifti.read_image, nifti.read_mask):
            with pytest.raises(DataError, match=r"cut short|short of|not a NIfTI"):
                read(path)


def test_damaged_bytes_fail_the_checksum(tmp_path):
    path = saved(tmp_path / "a.nii.gz", volume(shape=(23, 17, 9)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError):
        nifti.read_image(path)


def test_a_wrong_name_is_no_matter(tmp_path):
    plain = saved(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(nifti.read_image(tmp_path / name)[0], volume().T[None])


def test_gzip_in_several_members_is_whole(tmp_path):
    content = saved(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    np.testing.assert_array_equal(nifti.read_image(path)[0], volume().T[None])


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    header = bytearray(saved(tmp_path / "a.nii").read_bytes()[:352])
    struct.pack_into("<8h", header, 40, 3, 1200, 1200, 1200, 1, 1, 1, 1)
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(bytes(header) + bytes(10_000)))
    with pytest.raises(DataError, match=r"cannot hold shape \(1200, 1200, 1200\)"):
        nifti.read_header(bomb)
    small = tmp_path / "c.nii.gz"  # more data than promised
    small.write_bytes(gzip.compress(saved(tmp_path / "a.nii").read_bytes() + bytes(3 * 2**20)))
    with pytest.raises(DataError, match="far more data"):
        nifti.read_image(small)


DAMAGE = {
    "dim": [(40, "<8h", (3, -5, 4, 3, 1, 1, 1, 1)), (40, "<8h", (3, 0, 4, 3, 1, 1, 1, 1))],
    "size": [(40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1)), (40, "<8h", (3, 9, 4, 3, 1, 1, 1, 1))],
    "rank": [(40, "<h", (0,)), (40, "<h", (9,)), (40, "<h", (1,)), (40, "<8h", (5, 5, 2, 1, 2, 3, 1, 1))],
    "dtype": [(70, "<h", (value,)) for value in (0, 1, 32, 128, 1536, 9999)],
    "pixdim": [(80, "<f", (value,)) for value in (0.0, np.nan, np.inf)],
    "sform": [(280, "<f", (value,)) for value in (np.nan, np.inf)]
    + [(280, "<12f", (0,) * 12), (280, "<12f", (1,) * 12)],
    "slope": [(112, "<ff", (np.inf, 0)), (112, "<ff", (2, np.nan)), (112, "<ff", (2, -np.inf))],
    "offset": [(108, "<f", (value,)) for value in (1e30, np.nan, np.inf, -5, 12, 5000)],
    "magic": [(344, "4s", (b"ni1\0",)), (344, "4s", (b"abcd",))],
}


@pytest.mark.parametrize("part", DAMAGE)
def test_damaged_headers_are_refused(tmp_path, part):
    for offset, layout, values in DAMAGE[part]:
        path = patched(saved(tmp_path / "a.nii"), offset, layout, *values)
        with pytest.raises(DataError) as caught:
            nifti.read_header(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_a_qform_that_is_no_rotation(tmp_path):
    path = patched(saved(tmp_path / "a.nii"), 252, "<hh3f", 1, 0, 5, 5, 5)
    with pytest.raises(DataError, match="qform is no rotation"):
        nifti.read_header(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_images_must_be_finite(tmp_path, value):
    data = volume(np.float64)
    data[1, 2, 1] = value
    with pytest.raises(DataError, match="contains NaN or infinite"):
        nifti.read_image(saved(tmp_path / "a.nii.gz", data))


def test_random_damage_ends_in_a_data_error_or_an_array(tmp_path):
    whole = saved(tmp_path / "a.nii").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for position in rng.integers(0, 348, 3):
            content[position] = rng.integers(256)
        (tmp_path / "b.nii").write_bytes(content)
        try:
            nifti.read_image(tmp_path / "b.nii")
        except DataError:
            refused += 1
    assert 20 < refused < 200
