"""Scan with a repaired copy, official downloads and nnU-Net's format, as one call each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewmask import intake
from fewmask.data.casetable import read_catalogue
from fewmask.data.split_file import write_split
from fewmask.errors import DataError
from fewmask.runs import Run
from fewmask.trust import WHOLE
from fewmask.trust.verdict import COLUMNS
from fewmask.types import Split


@pytest.fixture
def blurred(tmp_path: Path) -> Path:
    """Two cases whose masks hold fractions."""
    for name in "ab":
        for folder in ("images", "masks"):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(ord(name)).random((8, 8, 4)).astype(np.float32)
            affine = np.diag([1, 1, 4, 1])
            nib.save(nib.Nifti1Image(values, affine), tmp_path / "in" / folder / f"{name}.nii.gz")
    return tmp_path / "in"


def test_the_catalogue_is_that_of_the_copy(blurred: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not whole numbers"):
        intake.scan(blurred, quiet=True)
    catalogue = intake.scan(blurred, tmp_path / "catalogue", fix=tmp_path / "copy", quiet=True)
    assert catalogue.labels.values == (0, 1)
    assert all(case.images[0].is_relative_to(tmp_path / "copy") for case in catalogue.cases)
    assert read_catalogue(tmp_path / "catalogue").labels == catalogue.labels
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        "images", "masks", "cases.csv", "dataset.yaml", "findings.csv", "scan.html",
    }  # fmt: skip


def test_no_run_to_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no run in it \(no split.json\)"):
        intake.export_nnunet(tmp_path, tmp_path / "Dataset501_X")


def test_a_run_is_exported_without_the_masks_that_trust_rejects(tmp_path: Path) -> None:
    for name in "abcd":
        for folder in ("images", "masks")[: 2 if name in "ab" else 1]:
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            values = (np.random.default_rng(ord(name)).random((8, 8, 4)) > 0.5).astype(np.uint8)
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "in" / folder / f"{name}.nii.gz")
    run = Run(tmp_path / "run")
    catalogue = intake.scan(tmp_path / "in", run.catalogue, quiet=True)
    write_split(Split(labelled=("a",), unlabelled=("c", "d"), val=("b",), test=()), run.split)
    run.config.write_text("method: {name: supervised}\nplan: {dims: 3}\n")
    for folder in (run.predictions, run.predictions / "uncertainty"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in "cd":
            nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), np.float32), np.eye(4)), folder / f"{name}.nii.gz")
    rows = [f"{name},{WHOLE},0.4,0.3,0.5,{flag},,0.4,0.4,1,,quick" for name, flag in (("c", "reject"), ("d", "review"))]
    (run.predictions / "trust.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    exported = intake.export_nnunet(run.root, tmp_path / "Dataset501_X", quiet=True)
    assert (exported.labelled, exported.pseudo, exported.rejected) == (2, 1, 1)
    assert len(catalogue.cases) == 4
