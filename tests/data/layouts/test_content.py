"""Masks told from images by their values."""

from fewmask.data.folders import files_below
from fewmask.data.layouts.content import mask_folder


def test_the_folder_with_few_values(files) -> None:
    for name in ("a", "deep/b"):
        files.image(f"one/{name}.png", shape=(1, 17, 23))
        files.mask(f"two/{name}.png", (0, 128, 255))
    assert mask_folder(list(files_below(files.root)), files.root) == files.root / "two"


def test_colour_and_broken_files_are_no_masks(files) -> None:
    files.image("one/a.png", channels=3, shape=(1, 17, 23))
    files.text("two/a.png", "no picture")
    assert mask_folder(list(files_below(files.root)), files.root) is None


def test_folders_of_other_names_do_not_belong_together(files) -> None:
    for name in ("a", "b", "c"):
        files.image(f"one/{name}.png")
        files.mask(f"two/{name}{name}.png")
    assert mask_folder(list(files_below(files.root)), files.root) is None


def test_three_folders_or_files_tell_nothing(files) -> None:
    for folder in ("one", "two", "three"):
        files.mask(f"{folder}/a.png")
    assert mask_folder(list(files_below(files.root)), files.root) is None
    files.mask("single/a.png")
    assert mask_folder([files.root / "single" / "a.png"], files.root / "single") is None
