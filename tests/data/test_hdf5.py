"""HDF5: both axis orders, masks out of reach of the image reader, and refusal of whatever leaves the file."""

import h5py
import numpy as np
import pytest

from fewmask.data import hdf5
from fewmask.errors import DataError

IMAGE = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
LABEL = np.random.default_rng(0).integers(0, 4, (3, 5, 4)).astype(np.uint8)


def saved(path, image=IMAGE, label=LABEL, **options):
    with h5py.File(path, "w") as file:
        for key, values in (("image", image), ("label", label)):
            if values is not None:
                file.create_dataset(key, data=values, **options)
    return path


def test_ssl4mis_is_read_as_stored(tmp_path):
    path = saved(tmp_path / "patient001_frame01.h5", compression="gzip")
    image, grid = hdf5.read_image(path)
    np.testing.assert_array_equal(image[0], IMAGE)
    assert (grid.shape, grid.spacing_mm, grid.affine, grid.planar) == ((3, 5, 4), None, None, False)
    mask, _ = hdf5.read_mask(path)
    np.testing.assert_array_equal(mask, LABEL)
    assert mask.dtype == np.uint8
    header = hdf5.read_header(path)
    assert (header.channels, header.grid) == (1, grid)


def test_ua_mt_is_turned_round(tmp_path):
    path = saved(tmp_path / "mri_norm2.h5")
    image, grid = hdf5.read_image(path)
    np.testing.assert_array_equal(image[0], IMAGE.transpose(2, 1, 0))
    np.testing.assert_array_equal(hdf5.read_mask(path)[0], LABEL.transpose(2, 1, 0))
    assert hdf5.read_header(path).grid == grid
    assert image.flags.c_contiguous


def test_a_slice_is_planar(tmp_path):
    path = saved(tmp_path / "a_slice_1.h5", IMAGE[0], LABEL[0])
    image, grid = hdf5.read_image(path)
    assert (image.shape, grid.shape, grid.planar) == ((1, 1, 5, 4), (1, 5, 4), True)


def test_images_are_read_without_their_label(tmp_path):
    whole, bare = saved(tmp_path / "a.h5"), saved(tmp_path / "b.h5", label=None)
    assert hdf5.has_mask(whole)
    assert not hdf5.has_mask(bare)
    with h5py.File(bare, "a") as file:  # poison: any look at it fails
        file["label"] = h5py.ExternalLink("absent.h5", "/label")
    assert hdf5.has_mask(bare)
    np.testing.assert_array_equal(hdf5.read_image(bare)[0][0], IMAGE)
    assert hdf5.read_header(bare).channels == 1
    with pytest.raises(DataError, match="'label' is a link"):
        hdf5.read_mask(bare)


def test_a_missing_dataset_is_named(tmp_path):
    path = saved(tmp_path / "a.h5", label=None)
    with pytest.raises(DataError, match="no dataset 'label'; found image"):
        hdf5.read_mask(path)
    with pytest.raises(DataError, match="no such file"):
        hdf5.read_header(tmp_path / "absent.h5")


def linked(path):
    other = saved(path.with_name("other.h5"))
    layout = h5py.VirtualLayout((3, 5, 4), "f4")
    layout[:] = h5py.VirtualSource(other, "image", (3, 5, 4))
    (path.parent / "raw").write_bytes(IMAGE.tobytes())
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/real")
        file["outside"] = h5py.ExternalLink(other.name, "/image")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("stored_apart", (3, 5, 4), "f4", external=[(str(path.parent / "raw"), 0, 240)])
        file.create_group("group")
        file["text"] = np.array([["a", "b"]], dtype=h5py.string_dtype())
        file["complex"] = np.ones((2, 2), complex)
        file["scalar"] = 3.0
        file["four"] = np.ones((2, 2, 2, 2))
        file["empty"] = np.ones((2, 0, 2))
        file.create_dataset("huge", (40000, 40000, 40), "f4", chunks=True)
        file.create_dataset("unwritten", (1000, 1000, 10), "f4", chunks=True)
        return [key for key in file if key != "image"]


def test_only_plain_numbers_in_the_file_itself_are_read(tmp_path):
    path = tmp_path / "a.h5"
    keys = linked(path)
    for key in keys:
        with h5py.File(path, "a") as file:
            file.move(key, "image")
        with pytest.raises(DataError, match="'image'"):
            hdf5.read_header(path)
        with pytest.raises(DataError, match="'image'"):
            hdf5.read_image(path)
        with h5py.File(path, "a") as file:
            del file["image"]
    assert len(keys) == 12


def test_broken_files(tmp_path):
    whole = saved(tmp_path / "a.h5", compression="gzip").read_bytes()
    path = tmp_path / "b.h5"
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not an HDF5 file"):
            hdf5.read_header(path)
    with h5py.File(tmp_path / "a.h5") as file:
        start = file["image"].id.get_chunk_info(0).byte_offset
    path.write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
    with pytest.raises(DataError, match="damaged"):
        hdf5.read_image(path)


def test_images_must_be_finite(tmp_path):
    image = IMAGE.copy()
    image[1, 1, 1] = np.nan
    with pytest.raises(DataError, match="contains NaN or infinite"):
        hdf5.read_image(saved(tmp_path / "a.h5", image))
