"""UA-MT folders of HDF5 files."""

from __future__ import annotations

from fewmask.data.layouts import find_cases


def test_uamt_folders(files) -> None:
    for name in ("AB1", "AB2", "AB3"):
        files.hdf5(f"Training Set/{name}/mri_norm2.h5", values=None if name == "AB3" else (0, 1))
    files.text("train.list", "AB2\nAB1/mri_norm2.h5\n")
    files.text("test.list", "AB3\n")
    name, _, found = find_cases(files.root)
    assert name == "uamt"
    assert [(case.id, case.patient, case.label is not None) for case in found.cases] == [
        ("AB1", "AB1", True),
        ("AB2", "AB2", True),
        ("AB3", "AB3", False),
    ]
    assert dict(found.lists) == {"train": ("AB2", "AB1"), "test": ("AB3",)}
