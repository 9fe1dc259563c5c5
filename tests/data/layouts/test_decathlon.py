"""Decathlon folders and MONAI's data lists."""

from __future__ import annotations

import json

import pytest

from fewmask.data.layouts import find_cases
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError


def read(files, **content: object) -> Found:
    files.text("dataset.json", json.dumps(content))
    name, _, found = find_cases(files.root)
    assert name == "decathlon"
    return found


def test_lists_name_images_and_masks(files) -> None:
    for name in ("a", "b", "c"):
        files.image(f"imagesTr/{name}.nii.gz")
    files.image("imagesTs/d.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    found = read(
        files,
        name="Organ",
        modality={"0": "MRI"},
        labels={"0": "background", "1": "organ"},
        training=[{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}, {"image": "./imagesTr/b.nii.gz"}],
        test=["./imagesTs/d.nii.gz", "./imagesTs/gone.nii.gz"],
    )
    assert {case.id: case.label is not None for case in found.cases} == {"a": True, "b": False, "c": False, "d": False}
    assert (found.name, found.channels, found.names) == ("Organ", ("MRI",), {"background": 0, "organ": 1})
    assert found.findings == (
        "1 images of 'test' are not there: gone",
        "1 images are not in dataset.json and count as unlabelled: c.nii.gz",
    )


def test_monai_lists_with_several_files_and_roles(files) -> None:
    for name in ("a1", "a2", "b1", "b2"):
        files.image(f"{name}.nii.gz")
    files.mask("a.nii.gz")
    found = read(
        files,
        training=[{"image": ["a1.nii.gz", "a2.nii.gz"], "label": "a.nii.gz", "fold": 0}],
        validation=[{"image": ["b1.nii.gz", "b2.nii.gz"], "label": "a.nii.gz"}],
    )
    assert [len(case.images) for case in found.cases] == [2, 2]
    assert dict(found.lists) == {"val": ("b1",)}


def test_a_listed_file_that_is_not_there(files) -> None:
    files.image("imagesTr/a.nii.gz")
    with pytest.raises(DataError, match=r"names .*labelsTr/a.nii.gz, which is not there; copy it or correct the list"):
        read(files, training=[{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}])


def test_an_entry_without_image(files) -> None:
    files.image("imagesTr/a.nii.gz")
    with pytest.raises(DataError, match="an entry of 'training' names no image"):
        read(files, training=["imagesTr/a.nii.gz", {"label": "x"}])


def test_a_section_that_is_no_list(files) -> None:
    files.image("imagesTr/a.nii.gz")
    with pytest.raises(DataError, match=r"dataset.json: 'test' is 5; write a list of cases"):
        read(files, training=[{"image": "imagesTr/a.nii.gz"}], test=5)
