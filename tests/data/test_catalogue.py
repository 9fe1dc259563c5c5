"""Opening: a catalogue, a table written by hand, or data."""

from __future__ import annotations

from fewmask.data.catalogue import open_catalogue, write_catalogue
from fewmask.data.scan import scan
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
