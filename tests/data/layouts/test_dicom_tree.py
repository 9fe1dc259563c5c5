"""A tree of DICOM files: cases by folder, masks of three kinds, patients as codes, a verdict for each series."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np

from fewmask.data.casetable import write_catalogue
from fewmask.data.formats import read_header
from fewmask.data.layouts import find_cases
from fewmask.data.scan import scan
from fewmask.runs import RECORD

AFFINE = np.diag([3.0, 1.5, 1.25, 1.0])
VOLUME = np.random.default_rng(0).integers(0, 900, (4, 7, 5)).astype(np.int16)


def test_cases_patients_and_verdicts(dicoms, tmp_path) -> None:
    for number in range(2):
        dicoms.series(f"p{number}/ct", VOLUME + number, AFFINE, PatientID=f"MRN-{number}")
        dicoms.series(
            f"p{number}/scout", VOLUME[:1], AFFINE, PatientID=f"MRN-{number}", ImageType=["A", "B", "LOCALIZER"]
        )
    dicoms.series("p2/late", VOLUME + 5, AFFINE, PatientID="MRN-1", StudyInstanceUID="1.2.3")
    (dicoms.series("p2/holes", VOLUME, AFFINE) / "0001.dcm").unlink()
    (dicoms.root / "p2" / "late" / "junk.dcm").write_bytes(b"no DICOM at all")
    catalogue = scan(dicoms.root, quiet=True)
    assert catalogue.layout == "dicom"
    assert [case.id for case in catalogue.cases] == ["p0", "p1", "p2"]
    codes = {case.id: case.patient for case in catalogue.cases}
    assert codes["p1"] == codes["p2"] != codes["p0"]
    assert "MRN" not in str(catalogue)
    assert {case.id: case.patient for case in scan(dicoms.root, quiet=True).cases} == codes
    kept = scan(dicoms.root, quiet=True, keep_ids=True)
    assert [case.patient for case in kept.cases] == ["MRN-0", "MRN-1", "MRN-1"]
    write_catalogue(catalogue, tmp_path / "catalogue")
    with (tmp_path / "catalogue" / "series.csv").open() as stream:
        rows = {row["series"]: row for row in csv.DictReader(stream)}
    assert [rows[f"p{n}/ct"]["verdict"] for n in range(2)] == ["used", "used"]
    assert (rows["p0/scout"]["verdict"], rows["p0/scout"]["why"]) == ("skipped", "localiser")
    assert rows["p2/holes"]["why"].startswith("missing slice at")
    assert rows["p2/late/junk.dcm"]["verdict"] == "skipped"
    assert rows["p0/ct"]["spacing_mm"] == "3 x 1.5 x 1.25"


def test_masks_beside_their_series(dicoms) -> None:
    for name in ("p0", "p1", "p2"):
        dicoms.series(f"{name}/ct", VOLUME, AFFINE, PatientID=name)
    grid = read_header(dicoms.root / "p0" / "ct").grid
    mask = nib.Nifti1Image((VOLUME > 400).T.astype(np.uint8), grid.affine[:, [2, 1, 0, 3]])
    nib.save(mask, dicoms.root / "p0" / "drawn by hand.nii.gz")  # alone beside its series
    (dicoms.root / "masks").mkdir()
    nib.save(mask, dicoms.root / "masks" / "p1_label.nii.gz")  # by name
    labels = {case.id: case.label for case in find_cases(dicoms.root)[2].cases}
    assert labels["p0"].name == "drawn by hand.nii.gz"
    assert labels["p1"].name == "p1_label.nii.gz"
    assert labels["p2"] is None


def test_masks_as_a_series_of_their_own(dicoms) -> None:
    for name in ("p0", "p1"):
        dicoms.series(f"{name}/image", VOLUME, AFFINE, PatientID=name)
    dicoms.series("p1/mask", (VOLUME > 400).astype(np.int16), AFFINE, PatientID="p1", Modality="OT")
    catalogue = scan(dicoms.root, quiet=True)
    assert [(case.id, case.label and case.label.name) for case in catalogue.cases] == [("p0", None), ("p1", "mask")]
    assert catalogue.labels.values == (0, 1)


def test_colour_among_grey_is_left_out(dicoms) -> None:
    dicoms.series("p0", VOLUME, AFFINE)
    dicoms.series("p1", VOLUME, AFFINE)
    dicoms.save(dicoms.picture(np.zeros((5, 6, 3), np.uint8)), dicoms.root / "capture" / "x.dcm")
    found = find_cases(dicoms.root)[2]
    assert [case.id for case in found.cases] == ["p0", "p1"]
    assert any(row["why"] == "3 channels where most have 1" for row in found.series)


def test_one_series_alone_is_called_like_its_folder(dicoms) -> None:
    folder = dicoms.series("head of anna", VOLUME, AFFINE)
    (case,) = find_cases(folder)[2].cases
    assert (case.id, case.images) == ("head of anna", (folder,))


def test_a_series_in_many_folders_is_read_where_they_hold_nothing_else(dicoms) -> None:
    folder = dicoms.series("p0/ct", VOLUME, AFFINE)
    (folder / "more").mkdir()
    (folder / "0003.dcm").rename(folder / "more" / "0003.dcm")
    (case,) = find_cases(dicoms.root)[2].cases
    assert read_header(case.images[0]).grid.shape == VOLUME.shape
    dicoms.series("p0/ct/others", VOLUME, AFFINE)
    verdicts = {row["why"] for row in find_cases(dicoms.root)[2].series}
    assert "scattered over 2 folders; move it into one" in verdicts


def test_predictions_beside_the_series_are_no_masks(dicoms) -> None:
    dicoms.series("p0/ct", VOLUME, AFFINE)
    dicoms.series("p1/ct", VOLUME, AFFINE)
    results = dicoms.root / "results"
    results.mkdir()
    (results / RECORD).write_text("")
    nib.save(nib.Nifti1Image(VOLUME.T, None), results / "p0.nii.gz")
    assert [case.label for case in find_cases(dicoms.root)[2].cases] == [None, None]
