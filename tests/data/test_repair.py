"""scan --fix: a copy that scans, every finding with what was done, and data that are not touched."""

from __future__ import annotations

import csv
import hashlib

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from fewmask.data.formats import read_header, read_image, read_mask
from fewmask.data.repair import repair
from fewmask.data.scan import scan
from fewmask.errors import DataError, SettingsError


def fingerprint(folder) -> dict:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def mended(data, out):
    seen = []
    catalogue = repair(data, out, lambda finding, view: seen.append(finding), quiet=True)
    return catalogue, {(finding.case, finding.severity): finding for finding in seen}


def test_volumes(files, tmp_path) -> None:
    affine = np.diag([1.25, 1.5, 4, 1])
    rng = np.random.default_rng(0)
    for name in ("good", "moved", "shape", "broken", "values", "negative"):
        files.image(f"images/{name}.nii.gz", shape=(6, 8, 10))
    truth = np.zeros((6, 8, 10), np.uint8)
    truth[1:5, 2:7, 3:8] = 1
    for name in ("good", "moved", "values", "negative"):
        files.write(f"masks/{name}.nii.gz", truth)
    finer = affine @ np.diag([1, 1, 0.5, 1])
    nib.save(nib.Nifti1Image(np.repeat(truth, 2, axis=0).T, finer), files.root / "masks" / "moved.nii.gz")
    nib.save(nib.Nifti1Image(truth[:3].T, None), files.root / "masks" / "shape.nii.gz")
    (files.root / "images" / "broken.nii.gz").write_bytes(b"text")
    blurred = truth.astype(np.float32)
    blurred[1, 2, 2] = 0.4
    nib.save(nib.Nifti1Image(blurred.T, affine), files.root / "masks" / "values.nii.gz")
    nib.save(nib.Nifti1Image((truth.astype(np.int16) - 3).T, affine), files.root / "masks" / "negative.nii.gz")
    nib.save(nib.Nifti1Image(rng.normal(size=(10, 8, 6)), affine), files.root / "images" / "turned.nii.gz")
    turned = nib.load(files.root / "images" / "turned.nii.gz").as_reoriented([[1, -1], [0, 1], [2, 1]])
    nib.save(turned, files.root / "images" / "turned.nii.gz")
    before = fingerprint(files.root)

    catalogue, findings = mended(files.root, tmp_path / "copy")
    assert fingerprint(files.root) == before
    assert "broken" not in catalogue.by_id
    assert findings["broken", "left out"].problem.startswith("not a NIfTI file")
    assert "resampled onto the image" in findings["moved", "repaired"].action
    assert findings["shape", "left out"].action == "the case is copied without a mask"
    assert findings["negative", "left out"].problem.startswith("holds -3")
    assert catalogue.by_id["shape"].label is None
    assert "one half" in findings["values", "repaired"].action
    assert findings["turned", "repaired"].action == "turned to RAS+"
    again = scan(tmp_path / "copy", quiet=True)  # raises where anything is left
    assert [case.id for case in again.cases] == [case.id for case in catalogue.cases]
    for name in ("good", "moved", "values"):
        case = catalogue.by_id[name]
        mask, grid = read_mask(case.label)
        image, place = read_image(case.images[0])
        assert grid == place
        original, own = read_image(files.root / "images" / f"{name}.nii.gz")
        turn = np.argmax(np.abs(own.affine[:3, :3]), axis=0)
        assert image.shape == original.shape and turn.tolist() == [2, 1, 0]
        assert np.mean(mask == truth) > 0.97
    with (tmp_path / "copy" / "findings.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) >= 5 and rows[0]["severity"] == "left out"


def test_pictures_keep_their_files_and_smeared_masks_become_png(files, tmp_path) -> None:
    for name in ("a", "b"):
        files.image(f"images/{name}.png", shape=(1, 16, 24))
    truth = np.zeros((16, 24), np.uint8)
    truth[4:12, 6:18] = 255
    (files.root / "masks").mkdir()
    Image.fromarray(truth).save(files.root / "masks" / "a.jpg", quality=60)
    Image.fromarray(truth).save(files.root / "masks" / "b.png")
    catalogue, findings = mended(files.root, tmp_path / "copy")
    assert "cut at 128" in findings["a", "repaired"].action
    assert catalogue.by_id["a"].label.name == "a.png"
    assert np.mean(read_mask(catalogue.by_id["a"].label)[0][0] == truth) > 0.97
    assert (tmp_path / "copy" / "images" / "b.png").read_bytes() == (files.root / "images" / "b.png").read_bytes()
    assert scan(tmp_path / "copy", quiet=True).labels.values == (0, 255)


def test_one_and_255_of_one_thing(files, tmp_path) -> None:
    for name in ("a", "b"):
        files.image(f"images/{name}.png", shape=(1, 8, 8))
    files.mask("masks/a.png", (0, 1), (1, 8, 8))
    files.mask("masks/b.png", (0, 255), (1, 8, 8))
    with pytest.raises(DataError):
        scan(files.root, quiet=True)
    catalogue, findings = mended(files.root, tmp_path / "copy")
    assert findings["b", "repaired"].problem == "255 where other masks hold 1"
    assert catalogue.labels.values == (0, 1)


def test_series_with_duplicate_slices(dicoms, tmp_path) -> None:
    volume = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)
    affine = np.diag([3.0, 1.5, 1.25, 1])
    folder = dicoms.series("p0/ct", volume, affine)
    dicoms.series("p1/ct", volume + 1, affine)
    extra = pydicom.dcmread(folder / "0002.dcm")
    extra.SOPInstanceUID, extra.InstanceNumber = pydicom.uid.generate_uid(), 99
    dicoms.save(extra, folder / "again.dcm")
    catalogue, findings = mended(dicoms.root, tmp_path / "copy")
    assert findings["p0_ct", "repaired"].action == "slices at taken places left out: 1"
    image, grid = read_image(catalogue.by_id["p0_ct"].images[0])
    assert image.shape == (1, 5, 6, 7)
    reference = read_header(dicoms.root / "p1" / "ct").grid
    np.testing.assert_allclose(grid.affine, reference.affine, atol=1e-5)


def test_what_is_refused_leaves_nothing(files, tmp_path) -> None:
    files.text("images/a.nii.gz", "nothing")
    with pytest.raises(DataError, match="no image could be read"):
        mended(files.root, tmp_path / "copy")
    assert list(tmp_path.glob(".copy*")) == [] and not (tmp_path / "copy").exists()
    with pytest.raises(SettingsError, match="lies in the data"):
        mended(files.root, files.root / "copy")
    (tmp_path / "copy").mkdir()
    with pytest.raises(SettingsError, match="is there already"):
        mended(files.root, tmp_path / "copy")
