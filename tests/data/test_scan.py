"""scan: what a folder means, and what is wrong with it."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pytest

from fewmask.data.scan import scan
from fewmask.errors import DataError
from fewmask.types import LabelSet


def pairs(files, *names: str, end: str = ".nii.gz") -> None:
    for name in names:
        files.image(f"images/{name}{end}")
        files.mask(f"masks/{name}{end}")


def refused(files) -> str:
    """The scan's one line of complaint."""
    with pytest.raises(DataError) as error:
        scan(files.root, quiet=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_volumes(files) -> None:
    pairs(files, "patient001_frame01", "patient001_frame02", "größe 3")
    files.image("images/d.nii.gz")
    catalogue = scan(files.root)
    assert (catalogue.name, catalogue.layout, catalogue.planar) == ("data set", "image_pairs", False)
    assert catalogue.channels == ("image",)
    assert catalogue.labels == LabelSet(names=("background", "class 1"), values=(0, 1))
    assert list(catalogue.groups) == ["d", "größe 3", "patient001"]
    assert catalogue.by_id["d"].label is None
    assert catalogue.findings == ()


def test_pictures_in_colour(files) -> None:
    for name in ("a", "b"):
        files.image(f"images/{name}.png", channels=3)
        files.mask(f"masks/{name}.png", (0, 255))
    catalogue = scan(files.root)
    assert (catalogue.planar, catalogue.channels) == (True, ("red", "green", "blue"))
    assert catalogue.labels.values == (0, 255)
    assert "255 -> 1" in catalogue.findings[0]


def test_slices_in_hdf5_are_planar(files) -> None:
    files.hdf5("data/slices/a_slice_1.h5", shape=(7, 5))
    files.hdf5("data/slices/b_slice_1.h5", values=None, shape=(7, 5))
    catalogue = scan(files.root)
    assert (catalogue.layout, catalogue.planar) == ("ssl4mis", True)


def test_images_alone(files) -> None:
    files.image("a.tif")
    files.image("b.bmp")
    catalogue = scan(files.root)
    assert catalogue.labels.names == ("background",)
    assert catalogue.findings == ("no masks: all images are unlabelled; add at least one mask to train",)


def test_result_is_the_same_for_any_number_of_threads(files) -> None:
    pairs(files, *"abcdefg", end=".png")
    assert scan(files.root, workers=1) == scan(files.root, workers=3)


def test_warning_filters_survive(files) -> None:
    pairs(files, *"abcdefg", end=".png")
    before = list(warnings.filters)
    scan(files.root, workers=3)
    assert warnings.filters == before


def test_copies_of_an_image_under_two_patients(files) -> None:
    values = np.arange(105, dtype=np.uint8).reshape(3, 7, 5)
    for name in ("patient1_frame1", "patient1_frame2", "patient2_frame1", "patient3_frame1"):
        files.write(f"{name}.nii.gz", values if name != "patient3_frame1" else values[::-1].copy())
    (finding,) = [text for text in scan(files.root).findings if "identical" in text]
    assert "patient1_frame1 = patient1_frame2 = patient2_frame1" in finding
    assert "patient3" not in finding


def test_a_layout_asked_for_in_dataset_yaml(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    assert scan(files.root).layout == "nnunet"
    files.text("dataset.yaml", "layout: image_pairs")
    assert scan(files.root).layout == "image_pairs"


def test_channel_names_that_do_not_fit_are_not_used(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.image("imagesTr/a_0001.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    files.text("dataset.json", '{"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "x": 1}}')
    assert scan(files.root).channels == ("T2", "ADC")
    files.text("dataset.json", '{"channel_names": {"0": "T2"}, "labels": {"background": 0, "x": 1}}')
    assert scan(files.root).channels == ("channel 0", "channel 1")


def test_mask_of_another_shape(files) -> None:
    pairs(files, "a", "b")
    files.mask("masks/b.nii.gz", shape=(3, 7, 6))
    message = refused(files)
    assert "masks/b.nii.gz: mask and image b.nii.gz differ in shape" in message
    assert "(3, 7, 5)" in message and "(3, 7, 6)" in message and "resample the mask" in message


def test_mask_at_another_place(files) -> None:
    pairs(files, "a")
    files.write("masks/a.nii.gz", np.resize(np.array([0, 1], np.uint8), (3, 7, 5)), spacing_mm=(4, 1.5, 2.5))
    assert "mask and image a.nii.gz differ in spacing" in refused(files)


def test_truncated_and_fake_files_are_all_counted(files) -> None:
    pairs(files, "a", "b", "c", "d")
    path = files.path("images/b.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    files.text("images/c.nii.gz", "this is no image")
    files.path("masks/d.nii.gz").write_bytes(gzip.compress(b"short"))
    message = refused(files)
    assert "images/b.nii.gz" in message
    assert "(2 more cases are wrong: c, d)" in message


def test_nan_in_an_image(files) -> None:
    pairs(files, "a")
    values = np.zeros((3, 7, 5), np.float32)
    values[1, 2, 3] = np.nan
    files.write("images/a.nii.gz", values)
    assert "images/a.nii.gz" in refused(files) and "NaN" in refused(files)


def test_broken_hdf5(files) -> None:
    files.hdf5("data/a.h5")
    files.text("data/b.h5", "not hdf5")
    assert "data/b.h5: not an HDF5 file" in refused(files)


def test_unknown_value(files) -> None:
    pairs(files, "a")
    files.text("dataset.yaml", "labels: {background: 0, nerve: 2}")
    assert "masks/a.nii.gz: mask value 1 has no name (named: background 0, nerve 2)" in refused(files)


def test_grey_among_colour(files) -> None:
    for name in ("a", "b", "c"):
        files.image(f"images/{name}.png", channels=3)
    files.image("images/d.png")
    assert "images/d.png: 1 channels where 3 images have 3 (1 such images); convert" in refused(files)


def test_interpolated_mask(files) -> None:
    pairs(files, "a")
    files.mask("masks/a.nii.gz", (0, 0.37, 1))
    assert "mask values 0, 0.37, 1 are not whole numbers" in refused(files)


@pytest.mark.real_data
@pytest.mark.slow
def test_acdc(real_data) -> None:
    catalogue = scan(real_data / "acdc")
    assert (len(catalogue.cases), len(catalogue.groups), catalogue.layout) == (160, 80, "ssl4mis")
    assert (len(catalogue.lists["train"]), len(catalogue.lists["val"])) == (140, 20)
    assert catalogue.lists["train"][0] == "patient099_frame01"
    assert catalogue.labels.values == (0, 1, 2, 3)
    assert not catalogue.planar
    assert any("patient074_frame01 = patient076_frame01" in finding for finding in catalogue.findings)


@pytest.mark.real_data
@pytest.mark.slow
def test_la2018(real_data) -> None:
    catalogue = scan(real_data / "la2018")
    assert (len(catalogue.cases), len(catalogue.groups), catalogue.layout) == (24, 24, "uamt")
    assert (len(catalogue.lists["train"]), len(catalogue.lists["val"])) == (18, 6)
    assert catalogue.labels.values == (0, 1)


@pytest.mark.real_data
@pytest.mark.slow
def test_hippocampus(real_data) -> None:
    catalogue = scan(real_data / "Task04_Hippocampus")
    assert (len(catalogue.cases), len(catalogue.groups), catalogue.layout) == (200, 200, "decathlon")
    assert catalogue.labels.names == ("background", "Anterior", "Posterior")
    assert catalogue.channels == ("MRI",)


@pytest.mark.real_data
@pytest.mark.slow
def test_vocalfolds(real_data) -> None:
    catalogue = scan(real_data / "vocalfolds")
    assert (len(catalogue.cases), len(catalogue.groups), catalogue.layout) == (153, 7, "image_pairs")
    assert "patient1_seq2" in catalogue.groups
    assert catalogue.labels.values == tuple(range(7))
    assert catalogue.planar and len(catalogue.channels) == 3


@pytest.mark.real_data
@pytest.mark.slow
def test_cxr_devices(real_data) -> None:
    catalogue = scan(real_data / "cxr_devices")
    assert (len(catalogue.cases), len(catalogue.groups), catalogue.layout) == (64, 53, "image_pairs")
    assert [len(catalogue.lists[role]) for role in ("labelled", "val", "test")] == [10, 7, 17]
    assert catalogue.planar and catalogue.channels == ("image",)
