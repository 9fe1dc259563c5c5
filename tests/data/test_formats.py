"""One set of functions over all formats: names, classes, and masks written so that they come back as they were."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.data import formats
from fewmask.data.formats import IGNORE, decode_mask, encode_mask, read_mask, write_mask, write_volume
from fewmask.data.grid import Grid, orientation
from fewmask.errors import DataError, OutOfMemory, SettingsError
from fewmask.types import Case, LabelSet

RAW = np.random.default_rng(0).choice([0, 7, 200], (3, 5, 4)).astype(np.uint8)
LABELS = LabelSet(names=("background", "vein", "artery"), values=(0, 7, 200))


def saved(path: Path, values: np.ndarray, affine=None) -> Path:
    """values (D, H, W) as NIfTI (x, y, z)."""
    nib.Nifti1Image(values.T, np.diag([0.5, 1.5, 7, 1]) if affine is None else affine).to_filename(path)
    return path


@pytest.mark.parametrize(
    ("name", "stem", "known"),
    [
        ("a.b.nii.gz", "a.b", True),
        ("ä b.NII.GZ", "ä b", True),
        ("a.nii", "a", True),
        ("scan_0000.PNG", "scan_0000", True),
        ("a.h5", "a", True),
        ("._a.nii.gz", "._a", False),
        ("a.txt", "a", False),
        ("a.gz", "a", False),
        ("a", "a", False),
    ],
)
def test_names(name, stem, known):
    assert formats.stem(Path("folder") / name) == stem
    assert formats.is_image_file(Path("folder") / name) is known


def test_unknown_kinds_of_file_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for read in (formats.read_header, formats.read_image, formats.read_mask, formats.has_mask):
        with pytest.raises(DataError, match=r"unknown kind of file; known: \.nii \.nii\.gz"):
            read(tmp_path / "a.txt")


def test_channels_of_several_files_are_stacked(tmp_path):
    volumes = [np.full((3, 5, 4), value, np.int16) for value in (1, 2, 3)]
    paths = [saved(tmp_path / f"c_{index:04d}.nii.gz", volume) for index, volume in enumerate(volumes)]
    image, grid = formats.read_case_image(Case(id="c", patient="c", images=tuple(paths)))
    assert (image.shape, grid.spacing_mm) == ((3, 3, 5, 4), (7, 1.5, 0.5))
    np.testing.assert_array_equal(image[:, 0, 0, 0], [1, 2, 3])
    saved(paths[2], np.full((6, 5, 4), 3, np.int16), np.diag([0.5, 1.5, 3.5, 1]))
    case = Case(id="c", patient="c", images=tuple(paths))
    assert formats.regridded(case) == (paths[2],)
    image, grid = formats.read_case_image(case)
    assert (image.shape, grid.spacing_mm) == ((3, 3, 5, 4), (7, 1.5, 0.5))
    np.testing.assert_array_equal(image[2], 3)


def test_channels_of_different_places_are_refused(tmp_path):
    volume = np.ones((3, 5, 4), np.int16)
    away = np.diag([0.5, 1.5, 7, 1])
    away[0, 3] = 100
    first, second = saved(tmp_path / "c_0000.nii", volume), saved(tmp_path / "c_0001.nii", volume, away)
    with pytest.raises(DataError, match=r"c: c_0000.nii and c_0001.nii differ in position.*overlap by less than 50%"):
        formats.read_case_image(Case(id="c", patient="c", images=(first, second)))
    nib.save(nib.Nifti1Image(np.ones((4, 5, 9), np.int16), None), second)
    with pytest.raises(DataError, match=r"differ in shape .* not both say where they lie"):
        formats.read_case_image(Case(id="c", patient="c", images=(first, second)))


def test_only_hdf5_carries_its_own_mask(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = file["label"] = np.zeros((2, 2))
    assert formats.has_mask(tmp_path / "a.h5")
    assert not formats.has_mask(saved(tmp_path / "a.nii", RAW))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64, ">f4", ">u2"])
def test_classes_and_raw_values_are_inverse(kind):
    classes = encode_mask(RAW.astype(kind), LABELS, "a")
    assert classes.dtype == np.uint8
    assert sorted(np.unique(classes)) == [0, 1, 2]
    np.testing.assert_array_equal(decode_mask(classes, LABELS), RAW)
    assert decode_mask(classes, LABELS).dtype == np.uint8


def test_yes_and_no_are_two_classes():
    binary = LabelSet(names=("background", "organ"), values=(0, 1))
    np.testing.assert_array_equal(encode_mask(RAW > 0, binary, "a"), RAW > 0)


def test_the_ignored_value_has_an_index_of_its_own():
    labels = LabelSet(names=("background", "vein"), values=(0, 7), ignore=200)
    classes = encode_mask(RAW, labels, "a")
    assert IGNORE(classes.dtype) == 255
    np.testing.assert_array_equal(classes == 255, RAW == 200)
    np.testing.assert_array_equal(decode_mask(classes, labels), RAW)


def test_many_classes_take_two_bytes():
    values = tuple(range(0, 600, 2))
    labels = LabelSet(names=tuple(map(str, values)), values=values, ignore=601)
    raw = np.array([0, 2, 598, 601]).reshape(1, 2, 2)
    classes = encode_mask(raw, labels, "a")
    assert (classes.dtype, IGNORE(classes.dtype)) == (np.uint16, 65535)
    np.testing.assert_array_equal(classes.ravel(), [0, 1, 299, 65535])
    np.testing.assert_array_equal(decode_mask(classes, labels), raw)


def test_values_keep_the_smallest_type_that_holds_all_of_them():
    for values, kind in (((0, 255), np.uint8), ((0, 256), np.uint16), ((-1000, 5), np.int32), ((0, 70000), np.int32)):
        labels = LabelSet(names=("background", "organ"), values=values)
        decoded = decode_mask(np.array([[[0, 1]]], np.uint8), labels)
        assert decoded.dtype == kind
        np.testing.assert_array_equal(decoded.ravel(), values)
        np.testing.assert_array_equal(encode_mask(decoded, labels, "a").ravel(), [0, 1])


@pytest.mark.parametrize("value", [3, 201, -1])
def test_an_unknown_value_is_named_with_the_classes(value):
    raw = RAW.astype(np.int16)
    raw[1, 1, 1] = value
    with pytest.raises(DataError, match=rf"case 5: the mask holds {value}, which is no class \(0 background, 7 vein"):
        encode_mask(raw, LABELS, "case 5")


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e30])
def test_masks_hold_whole_numbers(value):
    raw = RAW.astype(np.float64)
    raw[1, 1, 1] = value
    with pytest.raises(DataError, match="no whole number"):
        encode_mask(raw, LABELS, "a")


def test_a_mask_predicted_on_the_oriented_grid_comes_back_in_every_order(tmp_path):
    """The whole way of a prediction: read, orient, undo, write, read; over all axis orders, oblique and anisotropic."""
    oblique = nib.eulerangles.euler2mat(0.2, -0.15, 0.1)
    seen = 0
    for axes, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = oblique @ (np.eye(3)[:, list(axes)] * signs) * (0.5, 1.5, 7)
        affine[:3, 3] = (3, -70, 12.5)
        image = nib.Nifti1Image(RAW.T, affine)
        image.set_sform(affine, code=(0, 1, 2, 4)[seen % 4])
        image.set_qform(affine, code=(2, 0, 1)[seen % 3])
        like = tmp_path / f"like{seen}.nii"
        like.write_bytes(image.to_bytes())
        stored, grid = read_mask(like)
        turned = orientation(grid, slices=True)
        predicted = np.ascontiguousarray(turned.apply(stored))
        out = tmp_path / f"out{seen}.nii.gz"
        write_mask(out, turned.undo(predicted), grid, like)
        old, new = nib.load(like), nib.load(out)
        np.testing.assert_array_equal(np.asarray(new.dataobj), np.asarray(old.dataobj))
        for geometry in ("get_sform", "get_qform"):
            (old_affine, old_code), (new_affine, new_code) = (
                getattr(file, geometry)(coded=True) for file in (old, new)
            )
            assert old_code == new_code
            np.testing.assert_array_equal(old_affine, new_affine)
        np.testing.assert_array_equal(old.affine, new.affine)
        assert old.header.get_zooms() == new.header.get_zooms()
        seen += 1
    assert seen == 48


def test_h5_gives_identity_with_unknown_codes(tmp_path):
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file["image"], file["label"] = RAW.T.astype(np.float32), RAW.T
    mask, grid = read_mask(tmp_path / "mri_norm2.h5")
    write_mask(tmp_path / "a.nii.gz", mask, grid, tmp_path / "mri_norm2.h5")
    written = nib.load(tmp_path / "a.nii.gz")
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (0, 0)
    np.testing.assert_array_equal(written.header.get_sform(), np.eye(4))
    np.testing.assert_array_equal(np.asarray(written.dataobj), RAW.T)  # (x, y, z) as UA-MT has it


def test_without_a_file_to_copy_the_grid_says_where(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.15, 0.1) * (7, 1.5, 0.5)
    grid = Grid(shape=RAW.shape, spacing_mm=(7, 1.5, 0.5), affine=affine)
    write_mask(tmp_path / "a.nii.gz", RAW, grid, None)
    back, grid_back = read_mask(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(back, RAW)
    np.testing.assert_allclose(grid_back.affine, affine, atol=1e-5)
    write_mask(tmp_path / "b.nii", RAW, Grid(shape=RAW.shape, spacing_mm=(7, 1.5, 0.5)), None)
    assert read_mask(tmp_path / "b.nii")[1] == Grid(shape=RAW.shape, spacing_mm=(7, 1.5, 0.5))


def test_pictures_are_lossless_or_refused(tmp_path):
    flat = Grid(shape=(1, 5, 4), planar=True)
    for name in ("a.png", "a.tif", "a.TIFF"):
        write_mask(tmp_path / name, RAW[:1], flat, None)
        np.testing.assert_array_equal(read_mask(tmp_path / name)[0], RAW[:1])
    with pytest.raises(DataError, match="masks are written as"):
        write_mask(tmp_path / "a.jpg", RAW[:1], flat, None)
    with pytest.raises(DataError, match="no picture; write NIfTI"):
        write_mask(tmp_path / "b.png", RAW, Grid(shape=RAW.shape), None)


def test_volumes_have_their_classes_last(tmp_path):
    probabilities = np.random.default_rng(0).random((2, *RAW.shape)).astype(np.float32)
    like = saved(tmp_path / "like.nii.gz", RAW)
    write_volume(tmp_path / "a.nii.gz", probabilities, formats.read_header(like).grid, like)
    written = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), probabilities.T)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.affine, nib.load(like).affine)
    write_volume(tmp_path / "b.nii", probabilities[0], Grid(shape=RAW.shape), None)
    np.testing.assert_array_equal(formats.read_image(tmp_path / "b.nii")[0][0], probabilities[0])
    with pytest.raises(DataError, match="volumes are written as"):
        write_volume(tmp_path / "a.png", probabilities[0], Grid(shape=RAW.shape), None)


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [(errno.ENOSPC, OutOfMemory, "disk is full"), (errno.EROFS, SettingsError, "cannot be written")],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, kind, message):
    path = tmp_path / "a.nii.gz"
    write_mask(path, RAW, Grid(shape=RAW.shape), None)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=message):
        write_mask(path, RAW * 0, Grid(shape=RAW.shape), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_mask(tmp_path / "file" / "a.nii.gz", RAW, Grid(shape=RAW.shape), None)


def test_names_with_spaces_and_umlauts(tmp_path):
    folder = tmp_path / "Aufnahmen für Zoë"
    write_mask(folder / "Bild 1.nii.gz", RAW, Grid(shape=RAW.shape), None)
    np.testing.assert_array_equal(read_mask(folder / "Bild 1.nii.gz")[0], RAW)
    Image.fromarray(RAW[0]).save(folder / "Bild 2.png")
    np.testing.assert_array_equal(read_mask(folder / "Bild 2.png")[0][0], RAW[0])


def test_readers_start_without_torch():
    code = "import sys, fewmask.data.formats, fewmask.data.phantom; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
