"""Opening: a catalogue, a table written by hand, or data."""

from __future__ import annotations

import pytest

from fewmask.data.catalogue import open_catalogue, write_catalogue
from fewmask.data.scan import scan
from fewmask.errors import DataError
from fewmask.types import LabelSet


def test_a_catalogue_is_read_and_anything_else_is_scanned(files, tmp_path) -> None:
    files.image("images/a.png")
    files.mask("masks/a.png")
    catalogue = open_catalogue(files.root)
    write_catalogue(catalogue, tmp_path / "catalogue")
    files.path("masks/a.png").unlink()
    assert open_catalogue(tmp_path / "catalogue") == catalogue
    assert open_catalogue(files.root).by_id["a"].label is None


def test_a_minimum_written_by_hand(files) -> None:
    files.catalogue("images,label\nscans/a.nii.gz,drawn/of a.nii.gz\nscans/b.nii.gz,\n")
    catalogue = open_catalogue(files.root)
    assert (catalogue.name, catalogue.channels, catalogue.planar) == ("data set", ("image",), False)
    assert catalogue.labels == LabelSet(names=("background", "nerve"), values=(0, 1))
    assert [(case.id, case.patient, case.label is not None) for case in catalogue.cases] == [
        ("a", "a", True),
        ("b", "b", False),
    ]


def test_a_table_without_class_names_is_scanned(files) -> None:
    text = "case,patient,images,label,site\nx,p,scans/a.nii.gz;scans/b.nii.gz,drawn/of a.nii.gz,Ulm\n"
    files.catalogue(text, dataset=None)
    catalogue = open_catalogue(files.root)
    assert (catalogue.layout, catalogue.channels) == ("table", ("channel 0", "channel 1"))
    assert catalogue.labels.names == ("background", "class 1")
    (case,) = catalogue.cases
    assert (case.id, case.patient, case.site, len(case.images)) == ("x", "p", "Ulm", 2)


def test_a_written_catalogue_can_be_scanned_again(files, tmp_path) -> None:
    files.hdf5("data/patient1_frame1.h5")
    files.hdf5("data/patient1_frame2.h5")
    catalogue = scan(files.root)
    write_catalogue(catalogue, tmp_path / "catalogue")
    again = scan(tmp_path / "catalogue")
    assert (again.layout, again.cases, again.labels) == ("table", catalogue.cases, catalogue.labels)


def test_what_is_written_by_hand_is_checked_once(files, tmp_path) -> None:
    text = "images,label\nscans/a.nii.gz,drawn/of a.nii.gz\nscans/b.nii.gz,\n"
    files.catalogue(text, "labels: {background: 0, nerve: 1, vein: 2}\n")
    catalogue = open_catalogue(files.root, quiet=True)
    assert catalogue.findings == ("no mask holds vein",)
    write_catalogue(catalogue, tmp_path / "catalogue")
    files.path("drawn/of a.nii.gz").unlink()
    assert open_catalogue(tmp_path / "catalogue") == catalogue
    with pytest.raises(
        DataError, match=r"case 'a': its mask .*of a\.nii\.gz is not there; correct the path, or leave it"
    ):
        open_catalogue(files.root, quiet=True)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("labels: {background: 0, nerve: 2}\n", "mask value 1 has no name"),
        (
            "labels: {background: 0, nerve: 1}\nchannels: [T1, T2]\n",
            r"the images have 1 channels .* names 2 \(T1, T2\)",
        ),
    ],
)
def test_wrong_by_hand(files, dataset: str, message: str) -> None:
    files.catalogue("images,label\nscans/a.nii.gz,drawn/of a.nii.gz\nscans/b.nii.gz,\n", dataset)
    with pytest.raises(DataError, match=message):
        open_catalogue(files.root, quiet=True)


def test_the_order_of_classes_stays_that_of_the_file(files) -> None:
    files.catalogue("images,label\nscans/a.nii.gz,drawn/of a.nii.gz\n", "labels: {vein: 2, background: 0, nerve: 1}\n")
    assert open_catalogue(files.root, quiet=True).labels.names == ("background", "vein", "nerve")
    files.mask("drawn/of a.nii.gz", (0, 255))
    files.text("dataset.yaml", "labels: {background: 0, nerve: 1}\n")
    assert open_catalogue(files.root, quiet=True).labels.values == (0, 255)
