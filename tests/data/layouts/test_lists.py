"""List files."""

import unicodedata

import pytest

from fewmask.data.layouts.lists import entries, list_files, read_lists
from fewmask.errors import DataError


def test_which_files_are_lists(files) -> None:
    for name in (
        "train.list",
        "train_slices.list",
        "val.txt",
        "test_ids.txt",
        "readme.txt",
        "train.csv",
        "labeled.lst",
    ):
        files.text(name, "a\n")
    found = {role: [path.name for path in paths] for role, paths in list_files(files.root).items()}
    assert found == {
        "train": ["train.list", "train_slices.list"],
        "val": ["val.txt"],
        "test": ["test_ids.txt"],
        "labelled": ["labeled.lst"],
    }


def test_entries(files) -> None:
    assert entries(files.text("a.txt", "\ufeffa,\n\n# b\n c d \n")) == ["a", "c d"]
    path = files.path("b.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text"):
        entries(path)


def test_a_case_named_twice_counts_once(files) -> None:
    files.text("val.list", "b\na\nb\n")
    assert read_lists(files.root, lambda line: line) == ({"val": ("b", "a")}, ())


def test_names_that_macos_decomposed(files) -> None:
    assert entries(files.text("a.txt", unicodedata.normalize("NFD", "Müller\n"))) == ["Müller"]
