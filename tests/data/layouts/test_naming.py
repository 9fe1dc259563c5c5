"""Names of files and folders."""

import pytest

from fewmask.data.layouts.naming import Kind, Word, folder_word, is_role, role_of, stem_word


@pytest.mark.parametrize(
    ("name", "kind", "rest"),
    [
        ("images", Kind.IMAGE, ""),
        ("img", Kind.IMAGE, ""),
        ("imagesTr", Kind.IMAGE, "tr"),
        ("labelsTr", Kind.MASK, "tr"),
        ("train_masks", Kind.MASK, "train"),
        ("Ground Truth", Kind.MASK, ""),
        ("ISIC2018_Task1_Training_GroundTruth", Kind.MASK, "isic2018_task1_training"),
        ("annot", Kind.MASK, ""),
        ("image_masks", Kind.MASK, ""),
        ("patient1", Kind.UNKNOWN, "patient1"),
        ("unlabelled", Kind.UNKNOWN, "unlabelled"),
        ("Segments", Kind.UNKNOWN, "Segments"),
    ],
)
def test_folder(name: str, kind: Kind, rest: str) -> None:
    assert folder_word(name) == Word(kind, rest)


@pytest.mark.parametrize(
    ("stem", "kind", "rest"),
    [
        ("x_mask", Kind.MASK, "x"),
        ("x-Seg", Kind.MASK, "x"),
        ("mask_x", Kind.MASK, "x"),
        ("mask12", Kind.MASK, "12"),
        ("benign (1)_mask_1", Kind.MASK, "benign (1)"),
        ("mask", Kind.MASK, ""),
        ("x_image", Kind.IMAGE, "x"),
        ("x_0000", Kind.IMAGE, "x"),
        ("img_001", Kind.IMAGE, "001"),
        ("frame_01", Kind.IMAGE, "01"),
        ("masked", Kind.UNKNOWN, "masked"),
        ("0046_l", Kind.UNKNOWN, "0046_l"),
        ("patient001_frame01", Kind.UNKNOWN, "patient001_frame01"),
    ],
)
def test_stem(stem: str, kind: Kind, rest: str) -> None:
    assert stem_word(stem) == Word(kind, rest)


def test_roles_of_folders() -> None:
    assert [role_of(name) for name in ("train", "Validation", "ts", "site_a", "isic_training")] == [
        "train",
        "val",
        "test",
        None,
        "train",
    ]
    assert is_role("tr") and is_role("Test") and not is_role("patient1")
