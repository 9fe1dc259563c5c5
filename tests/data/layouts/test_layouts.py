"""Recognition, and the files beside the data that overrule it."""

from __future__ import annotations

import pytest

from fewmask.data.layouts import LAYOUTS, find_cases
from fewmask.data.layouts.companions import with_companions
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError, SettingsError


def read(files) -> Found:
    _, start, found = find_cases(files.root)
    return with_companions(found, start)


def pairs(files, *names: str) -> None:
    for name in names:
        files.image(f"images/{name}.png")
        files.mask(f"masks/{name}.png")


def test_unknown_layout(files) -> None:
    with pytest.raises(SettingsError, match=r"unknown layout 'nnunetv2'; did you mean 'nnunet'?"):
        find_cases(files.root, "nnunetv2")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_is_not_there(files, name: str) -> None:
    files.text("readme.md", "nothing")
    with pytest.raises(DataError, match=f"no layout '{name}' found"):
        find_cases(files.root, name)


def test_no_folder_a_file_an_empty_folder_and_no_images(files, tmp_path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_cases(tmp_path / "gone")
    with pytest.raises(DataError, match="a file; give the folder"):
        find_cases(files.text("x.txt", ""))
    with pytest.raises(DataError, match=r"no image files \(.nii, .*found"):
        find_cases(files.root)
    files.path("empty/deeper/x").parent.rmdir()
    with pytest.raises(DataError, match="an empty folder"):
        find_cases(files.root / "empty")


def test_a_folder_around_the_data_set_is_entered(files) -> None:
    pairs(files, "wrapped/x")
    files.root = files.root / "outer" / "inner"
    pairs(files, "a")
    files.text("patients.csv", "image,patient\na.png,7\n")
    files.root = files.root.parent
    assert [(case.id, case.patient) for case in read(files).cases] == [("a", "7")]
