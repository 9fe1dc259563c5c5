"""SSL4MIS folders of HDF5 files."""

from __future__ import annotations

import pytest

from fewmask.data.layouts import find_cases
from fewmask.errors import DataError


def test_volumes_win_over_their_slices(files) -> None:
    for name in ("patient001_frame01", "patient001_frame02", "patient002_frame01"):
        files.hdf5(f"data/{name}.h5")
    for name in ("patient001_frame01_slice_1", "patient003_frame01_slice_2", "patient003_frame01_slice_10"):
        files.hdf5(f"data/slices/{name}.h5", shape=(7, 5))
    files.hdf5("data/patient004_frame01.h5", values=None)
    files.text("train.list", "patient002_frame01\npatient001_frame02\npatient001_frame01\n")
    files.text("val.list", "patient003_frame01_slice_2\n")
    files.text("train_slices.list", "patient001_frame01_slice_1\npatient003_frame01_slice_10\n")
    name, _, found = find_cases(files.root)
    assert name == "ssl4mis"
    assert {case.id: case.label is not None for case in found.cases} == {
        "patient001_frame01": True,
        "patient001_frame02": True,
        "patient002_frame01": True,
        "patient003_frame01_slice_2": True,
        "patient003_frame01_slice_10": True,
        "patient004_frame01": False,
    }
    assert [case.patient for case in found.cases] == [f"patient00{number}" for number in (1, 1, 2, 3, 3, 4)]
    assert found.lists["train"] == (
        "patient002_frame01",
        "patient001_frame02",
        "patient001_frame01",
        "patient003_frame01_slice_10",
    )
    assert found.lists["val"] == ("patient003_frame01_slice_2",)
    assert found.findings == ("1 slice files are left out: their volumes are there",)


def test_brats_lists_with_commas_and_missing_files(files) -> None:
    files.hdf5("data/BraTS_1.h5")
    files.hdf5("data/BraTS_2.h5")
    files.text("train.txt", "BraTS_2,\nBraTS_3,\n")
    _, _, found = find_cases(files.root)
    assert found.lists["train"] == ("BraTS_2",)
    assert found.findings == ("train.txt: 1 of 2 lines have no file, first BraTS_3",)


def test_a_list_of_other_names(files) -> None:
    files.hdf5("data/a.h5")
    files.text("val.list", "x\ny\n")
    with pytest.raises(DataError, match=r"val.list: none of its 2 lines names a file \(first: x\)"):
        find_cases(files.root)
