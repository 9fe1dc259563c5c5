"""nnU-Net raw folders."""

from __future__ import annotations

import json

import pytest

from fewmask.data.layouts import find_cases
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError


def read(files) -> Found:
    name, _, found = find_cases(files.root)
    assert name == "nnunet"
    return found


def test_images_without_a_mask_are_unlabelled(files) -> None:
    for name in ("patient001_frame01", "patient001_frame02", "b"):
        files.image(f"imagesTr/{name}_0000.nii.gz")
    files.image("imagesTs/c_0000.nii.gz")
    files.image("imagesUn/d_0000.nii.gz")
    files.mask("labelsTr/b.nii.gz")
    found = read(files)
    assert {case.id: case.label is not None for case in found.cases} == {
        "b": True,
        "c": False,
        "d": False,
        "patient001_frame01": False,
        "patient001_frame02": False,
    }
    assert len({case.patient for case in found.cases}) == 4
    assert not found.lists


def test_channels_are_stacked_in_order(files) -> None:
    for name in ("a", "b"):
        for channel in ("0001", "0000", "0002"):
            files.image(f"imagesTr/{name}_{channel}.nii.gz")
    files.mask("labelsTr/b.nii.gz")
    assert [path.name for path in read(files).cases[0].images] == [f"a_{n:04d}.nii.gz" for n in range(3)]


@pytest.mark.parametrize(
    "content",
    [
        {"channel_names": {"0": "T2"}, "labels": {"background": 0, "PZ": 1, "TZ": 2, "ignore": 3}},
        {"modality": {"0": "T2"}, "labels": {"0": "background", "1": "PZ", "2": "TZ", "3": "ignore"}},
    ],
    ids=["version 2", "version 1"],
)
def test_dataset_json(files, content: dict[str, object]) -> None:
    files.image("imagesTr/a_0000.png")
    files.mask("labelsTr/a.png")
    files.text("dataset.json", json.dumps({"name": "Prostate", **content}))
    found = read(files)
    assert (found.name, found.channels, found.ignore) == ("Prostate", ("T2",), 3)
    assert found.names == {"background": 0, "PZ": 1, "TZ": 2}


def test_version_1_lists_files_under_names_that_are_not_there(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    files.text("dataset.json", json.dumps({"labels": {"0": "background", "1": "x"}, "training": training}))
    assert [case.label is not None for case in read(files).cases] == [True]


def test_regions_become_values(files) -> None:
    files.image("imagesTr/a_0000.png")
    files.mask("labelsTr/a.png")
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    files.text("dataset.json", json.dumps({"labels": labels}))
    found = read(files)
    assert found.names == {"background": 0, "enhancing": 3, "value 1": 1, "value 2": 2}
    assert "regions (whole, core)" in found.findings[0]


def test_explicit_lists_of_files(files) -> None:
    files.image("anywhere/x.png")
    files.mask("elsewhere/y.png")
    dataset = {"one": {"images": ["anywhere/x.png"], "label": "elsewhere/y.png"}, "two": {"images": ["anywhere/x.png"]}}
    files.text("dataset.json", json.dumps({"dataset": dataset}))
    assert {case.id: case.label is not None for case in read(files).cases} == {"one": True, "two": False}
    dataset["two"]["images"] = ["anywhere/z.png"]
    files.text("dataset.json", json.dumps({"dataset": dataset}))
    with pytest.raises(DataError, match=r"case two names .*z.png, which is not there"):
        read(files)


def test_masks_of_test_images_make_a_list(files) -> None:
    for folder, name in (("Tr", "a"), ("Ts", "b"), ("Ts", "c")):
        files.image(f"images{folder}/{name}_0000.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    files.mask("labelsTs/b.nii.gz")
    assert dict(read(files).lists) == {"test": ("b",)}


def test_a_missing_channel(files) -> None:
    for name in ("a_0000", "a_0001", "b_0000"):
        files.image(f"imagesTr/{name}.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    with pytest.raises(DataError, match="case b has no channel 0001"):
        read(files)


def test_a_name_without_channel(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.image("imagesTr/b.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    with pytest.raises(DataError, match=r"b.nii.gz: no channel in the name; nnU-Net expects b_0000"):
        read(files)


def test_no_masks_at_all(files) -> None:
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        files.image(f"imagesTr/{name}.nii.gz")
    assert [(case.id, len(case.images)) for case in read(files).cases] == [("a", 2), ("b", 2)]


def test_four_digits_that_number_cases_are_no_channels(files) -> None:
    for number in range(12):
        files.image(f"imagesTr/scan_{number:04d}.nii.gz")
    assert find_cases(files.root)[0] == "image_pairs"
    files.mask("labelsTr/scan_0003.nii.gz")
    name, _, found = find_cases(files.root)
    assert name == "image_pairs"
    assert [case.id for case in found.cases if case.label] == ["scan_0003"]


def test_orphan_masks_are_said(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    files.mask("labelsTr/b.nii.gz")
    assert read(files).findings == ("1 masks have no image and are left out: labelsTr/b.nii.gz",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ('{"labels": {"a": 0.5}}', "label value 0.5 is no whole number"),
        ('{"labels": ["a"]}', "'labels' must map names to values"),
    ],
)
def test_broken_json(files, text: str, message: str) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.text("dataset.json", text)
    with pytest.raises(DataError, match=message):
        read(files)
