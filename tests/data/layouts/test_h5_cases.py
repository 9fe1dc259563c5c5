"""Image and mask in one HDF5 file."""

from fewmask.data.layouts.h5_cases import h5_case


def test_label_is_the_same_file_or_none(files) -> None:
    path = files.hdf5("a.h5")
    assert (h5_case(path, "p:1").id, h5_case(path, "p:1").label) == ("p_1", path)
    assert h5_case(files.hdf5("b.h5", values=None), "b").label is None


def test_a_broken_file_is_left_to_the_check(files) -> None:
    assert h5_case(files.text("c.h5", "no"), "c").label is None
