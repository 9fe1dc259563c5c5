"""nnU-Net's raw format: true masks, pseudo-labels with an ignore value where they are in doubt, test without masks."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from fewmask.data.formats import write_mask, write_volume
from fewmask.data.layouts import find_cases
from fewmask.data.nnunet_raw import export
from fewmask.data.scan import scan
from fewmask.errors import DataError, SettingsError
from fewmask.types import Split

SHAPE = (3, 7, 5)
TRUTH = np.resize(np.array([0, 7, 200], np.uint8), SHAPE)


@pytest.fixture
def catalogue(files):
    for name in "abcd":
        files.image(f"images/{name}.nii.gz")
    for name in "abd":
        files.write(f"masks/{name}.nii.gz", TRUTH)
    files.text("dataset.yaml", "labels: {background: 0, vein: 7, artery: 200}\n")
    return scan(files.root, quiet=True)


SPLIT = Split(labelled=("a",), unlabelled=("c",), val=("b",), test=("d",))


def predicted(catalogue, folder) -> np.ndarray:
    """A pseudo-label of c, and its entropy, of which the last slice is in doubt."""
    from fewmask.data.formats import read_header

    image = catalogue.by_id["c"].images[0]
    grid = read_header(image).grid
    write_mask(folder / "c.nii.gz", TRUTH, grid, image)
    entropy = np.zeros(SHAPE, np.float32)
    entropy[-1] = 0.8
    write_volume(folder / "uncertainty" / "c.nii.gz", entropy, grid, image)
    return entropy


def test_what_nnunet_finds(catalogue, tmp_path) -> None:
    predicted(catalogue, tmp_path / "masks")
    out = tmp_path / "Dataset501_Veins"
    exported = export(catalogue, SPLIT, tmp_path / "masks", out, doubt=0.5, quiet=True)
    assert (exported.labelled, exported.pseudo, exported.held_out) == (2, 1, 1)
    assert exported.ignored == pytest.approx(1 / 9)
    content = json.loads((out / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "vein": 1, "artery": 2, "ignore": 3}
    assert (content["numTraining"], content["file_ending"]) == (3, ".nii.gz")
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == [f"{name}_0000.nii.gz" for name in "abc"]
    assert [path.name for path in (out / "imagesTs").iterdir()] == ["d_0000.nii.gz"]
    assert not (out / "labelsTs").exists()
    numbered = np.searchsorted([0, 7, 200], TRUTH)
    for name in "abc":
        label = nib.load(out / "labelsTr" / f"{name}.nii.gz")
        expected = numbered.copy()
        if name == "c":
            expected[-1] = 3
        np.testing.assert_array_equal(np.asarray(label.dataobj).T, expected)
        np.testing.assert_array_equal(label.affine, nib.load(out / "imagesTr" / f"{name}_0000.nii.gz").affine)
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["a", "c"], "val": ["b"]}]


def test_a_rejected_pseudo_label_is_left_out_and_needs_no_mask(catalogue, tmp_path) -> None:
    out = tmp_path / "Dataset501_Veins"
    exported = export(catalogue, SPLIT, tmp_path / "masks", out, rejected={"c", "b"}, quiet=True)
    assert (exported.labelled, exported.pseudo, exported.rejected) == (2, 0, 1)  # true masks are never rejected
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["a"], "val": ["b"]}]


def test_fewmask_reads_what_it_wrote(catalogue, tmp_path) -> None:
    predicted(catalogue, tmp_path / "masks")
    out = tmp_path / "Dataset501_Veins"
    export(catalogue, SPLIT, tmp_path / "masks", out, quiet=True)
    assert find_cases(out)[0] == "nnunet"
    again = scan(out, quiet=True)
    assert (again.labels.values, again.labels.ignore) == ((0, 1, 2), 3)


def test_what_is_missing_is_said_before_anything_is_written(catalogue, tmp_path) -> None:
    out = tmp_path / "Dataset501_Veins"
    with pytest.raises(DataError, match="no mask of c; write them with `fewmask predict RUN DATA --uncertainty"):
        export(catalogue, SPLIT, tmp_path / "masks", out, quiet=True)
    predicted(catalogue, tmp_path / "masks")
    (tmp_path / "masks" / "uncertainty" / "c.nii.gz").unlink()
    with pytest.raises(DataError, match="no uncertainty map of c"):
        export(catalogue, SPLIT, tmp_path / "masks", out, quiet=True)
    with pytest.raises(SettingsError, match="for example Dataset501_Heart"):
        export(catalogue, SPLIT, tmp_path / "masks", tmp_path / "export", quiet=True)
    with pytest.raises(SettingsError, match="--doubt 2: between 0 and 1"):
        export(catalogue, SPLIT, tmp_path / "masks", out, doubt=2, quiet=True)
    assert not out.exists()
