"""Image and mask folders, nested or flat."""

from __future__ import annotations

import unicodedata

import nrrd
import numpy as np
import pytest

from fewmask.data.layouts import find_cases
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError


def read(files) -> Found:
    name, _, found = find_cases(files.root)
    assert name == "image_pairs"
    return found


def labelled(found: Found) -> dict[str, str | None]:
    """Case -> its mask's path below the data folder."""
    return {case.id: case.label and "/".join(case.label.parts[-2:]) for case in found.cases}


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("img", "annot"), ("image", "label"), ("Images", "Ground Truth"), ("scans", "segmentations")],
)
def test_folder_names(files, images: str, masks: str) -> None:
    for name in ("a", "b b", "ü"):
        files.image(f"{images}/{name}.png")
    files.mask(f"{masks}/b b.png")
    files.mask(f"{masks}/ü.tif")
    assert labelled(read(files)) == {"a": None, "b b": f"{masks}/b b.png", "ü": f"{masks}/ü.tif"}


def test_decathlon_folders_without_json(files) -> None:
    files.image("imagesTr/a.nii.gz")
    files.image("imagesTr/b.nii.gz")
    files.image("imagesTs/a.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    assert labelled(read(files)) == {"tr_a": "labelsTr/a.nii.gz", "ts_a": None, "b": None}


def test_nested_frames_are_grouped_by_the_deepest_folder(files) -> None:
    for name in ("patient1/seq1/01", "patient1/seq1/02", "patient1/seq2/01", "patient2/seq3/01"):
        files.image(f"img/{name}.png", channels=3)
        files.mask(f"annot/{name}.png")
    cases = read(files).cases
    assert [case.id for case in cases] == [
        "patient1_seq1_01",
        "patient1_seq1_02",
        "patient1_seq2_01",
        "patient2_seq3_01",
    ]
    assert [case.patient for case in cases] == ["patient1_seq1"] * 2 + ["patient1_seq2", "patient2_seq3"]
    assert all(case.label and case.label.parts[-3:] == case.images[0].parts[-3:] for case in cases)


def test_nested_volumes_are_grouped_by_patient(files) -> None:
    for name in ("site/patient7/visit1", "site/patient7/visit2", "site/patient8/visit1"):
        files.image(f"images/{name}/t1.nii.gz")
    files.mask("masks/site/patient7/visit1/t1.nii.gz")
    assert [case.patient for case in read(files).cases] == ["patient7", "patient7", "patient8"]


def test_bids_subject_wins_over_folders(files) -> None:
    for name in ("sub-01/ses-1", "sub-01/ses-2", "sub-02/ses-1"):
        files.image(f"images/{name}/{name.replace('/', '_')}_bold.png")
    assert [case.patient for case in read(files).cases] == ["sub-01", "sub-01", "sub-02"]


def test_flat_folder_with_masks_beside_images(files) -> None:
    for name in ("a", "b", "c", "patient001_frame01", "patient001_frame02"):
        files.image(f"{name}.png")
    for name in ("a_mask", "b_seg", "label_c", "patient001_frame02_gt"):
        files.mask(f"{name}.png")
    found = read(files)
    assert {case.id: case.label and case.label.name for case in found.cases} == {
        "a": "a_mask.png",
        "b": "b_seg.png",
        "c": "label_c.png",
        "patient001_frame01": None,
        "patient001_frame02": "patient001_frame02_gt.png",
    }
    assert len({case.patient for case in found.cases}) == 4


def test_a_folder_a_case(files) -> None:
    for name in ("case1", "case2", "case3"):
        files.image(f"{name}/image.nii.gz")
    files.mask("case2/mask.nii.gz")
    assert labelled(read(files)) == {"case1": None, "case2": "case2/mask.nii.gz", "case3": None}


def test_numbered_names(files) -> None:
    for number in (1, 2, 10):
        files.image(f"images/image{number}.png")
    files.mask("masks/mask10.png")
    assert labelled(read(files)) == {"image1": None, "image2": None, "image10": "masks/mask10.png"}


def test_masks_below_the_images(files) -> None:
    files.image("a.png")
    files.image("b.png")
    files.mask("masks/a.png")
    assert labelled(read(files)) == {"a": "masks/a.png", "b": None}


def test_roles_of_folders_become_lists_and_no_patients(files) -> None:
    for role, name in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "d"), ("test", "e")):
        files.image(f"{role}/images/{name}.png")
        files.mask(f"{role}/masks/{name}.png")
    files.image("unlabelled/f.png")
    found = read(files)
    assert dict(found.lists) == {"train": ("a", "b"), "val": ("c",), "test": ("d", "e"), "unlabelled": ("f",)}
    assert [case.patient for case in found.cases] == list("abcdef")


def test_role_below_the_kind(files) -> None:
    for role in ("train", "test"):
        files.image(f"images/{role}/1.png")
        files.mask(f"masks/{role}/1.png")
    found = read(files)
    assert dict(found.lists) == {"train": ("train_1",), "test": ("test_1",)}
    assert all(case.label and case.label.parent.name == case.patient.split("_")[0] for case in found.cases)


def test_a_folder_around_everything_is_no_patient(files) -> None:
    for name in ("a", "b"):
        files.image(f"My Set/images/{name}.png")
        files.mask(f"My Set/masks/{name}.png")
    files.text("readme.txt", "hello")
    assert [(case.id, case.patient) for case in read(files).cases] == [("a", "a"), ("b", "b")]


def test_images_alone(files) -> None:
    files.image("photos/p1/1.jpg", channels=3)
    files.image("photos/p2/1.jpg", channels=3)
    found = read(files)
    assert labelled(found) == {"p1_1": None, "p2_1": None}


def test_one_group_for_all_is_said_and_undone(files) -> None:
    for number in range(3):
        files.image(f"images/seq1/{number}.png")
    found = read(files)
    assert [case.patient for case in found.cases] == ["seq1_0", "seq1_1", "seq1_2"]
    assert "one patient (seq1)" in found.findings[0]


def test_folders_told_by_content(files) -> None:
    for name in ("x", "y", "z"):
        files.image(f"left/{name}.png", shape=(1, 17, 23))
        files.mask(f"right/{name}.png", (0, 3))
    assert labelled(read(files)) == {name: f"right/{name}.png" for name in "xyz"}


def test_two_folders_that_could_both_be_masks(files) -> None:
    for name in ("x", "y"):
        files.mask(f"left/{name}.png", (0, 2))
        files.mask(f"right/{name}.png", (0, 3))
    with pytest.raises(DataError, match=r"'left' and 'right' could both be masks; call one folder 'masks'"):
        read(files)


def test_different_folders_same_names(files) -> None:
    files.image("2020 photos/images/x.png")
    files.mask("2021 drawn/masks/x.png")
    assert labelled(read(files)) == {"x": "masks/x.png"}


def test_masks_without_images_are_said(files) -> None:
    files.image("images/a.png")
    files.mask("masks/a.png")
    files.mask("masks/b.png")
    assert "1 masks have no image and are left out: masks/b.png" in read(files).findings


def test_no_mask_fits(files) -> None:
    files.image("images/a1.png")
    files.image("images/a2.png")
    files.mask("masks/b1.png")
    with pytest.raises(DataError, match=r"no mask has the name of an image \(images like images/a1.png, masks"):
        read(files)


def test_two_masks_for_one_image(files) -> None:
    files.image("a.png")
    files.mask("a_mask.png")
    files.mask("a_mask_1.png")
    with pytest.raises(DataError, match=r"both masks of a.png; merge them into one file"):
        read(files)


def test_two_images_of_one_name(files) -> None:
    files.image("images/a.png")
    files.image("images/a.tif")
    with pytest.raises(DataError, match="would both be case 'a'; rename one"):
        read(files)


def test_hidden_files_are_not_there(files) -> None:
    files.image("images/a.png")
    files.text("images/._b.png", "mac")
    files.text("__MACOSX/images/c.png", "mac")
    assert labelled(read(files)) == {"a": None}


@pytest.mark.parametrize("marks", [("request.json", "split.json"), (".fewmask.lock",), (".fewmask.jsonl",)])
def test_results_of_fewmask_are_no_images(files, marks: tuple[str, ...]) -> None:
    files.image("images/a.png")
    files.mask("masks/a.png")
    for mark in marks:
        files.text(f"my-run/{mark}", "{}")
    files.mask("my-run/predictions/b.png")
    found = read(files)
    assert labelled(found) == {"a": "masks/a.png"}
    assert found.findings == ("results of fewmask are no data and are left out: my-run",)
    files.path("my-run/predictions/b.png").unlink()
    assert read(files).findings == ()


def test_a_run_beside_the_data_sets_folder_hides_nothing(files) -> None:
    """The folder around the data is entered as before the run was there."""
    for name in ("a", "b"):
        files.image(f"set/imagesTr/{name}_0000.nii.gz")
    before = find_cases(files.root)
    files.text("run/.fewmask.lock", "")
    files.image("run/predictions/c.nii.gz")
    assert find_cases(files.root) == before


def test_a_folder_that_is_named_is_read_though_fewmask_wrote_it(files) -> None:
    files.text(".fewmask.jsonl", "")
    files.image("a.png")
    assert labelled(read(files)) == {"a": None}


def test_names_that_macos_decomposed_find_their_mask(files) -> None:
    files.image("images/Zoë/Müller.png")
    files.image("images/b.png")
    files.mask(unicodedata.normalize("NFD", "masks/Zoë/Müller.png"))
    found = read(files)
    assert [case.id for case in found.cases if case.label] == ["Zoë_Müller"]
    assert unicodedata.is_normalized("NFC", found.cases[-1].id)


def test_segmentations_of_slicer_lie_beside_their_images(files) -> None:
    values = np.zeros((5, 7, 3), np.uint8)
    for name in ("a.nrrd", "a.seg.nrrd", "b.nrrd"):
        nrrd.write(str(files.path(f"scans/{name}")), values)
    assert labelled(read(files)) == {"a": "scans/a.seg.nrrd", "b": None}
