"""nnU-Net's raw format: true masks, pseudo-labels with an ignore value where they are in doubt, test without masks."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fewmask.data.cache import Preparation
from fewmask.data.conform import prepared_geometry
from fewmask.data.formats import read_header, read_mask, write_mask, write_volume
from fewmask.data.layouts import find_cases
from fewmask.data.nnunet_raw import export
from fewmask.data.scan import scan
from fewmask.errors import DataError, SettingsError
from fewmask.types import Split

SHAPE = (3, 7, 5)
FLAT = Preparation(dims=2, size=(16, 16), channels=1)
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
    exported = export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, doubt=0.5, quiet=True)
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
    exported = export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, rejected={"c", "b"}, quiet=True)
    assert (exported.labelled, exported.pseudo, exported.rejected) == (2, 0, 1)  # true masks are never rejected
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["a"], "val": ["b"]}]


def test_fewmask_reads_what_it_wrote(catalogue, tmp_path) -> None:
    predicted(catalogue, tmp_path / "masks")
    out = tmp_path / "Dataset501_Veins"
    export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, quiet=True)
    assert find_cases(out)[0] == "nnunet"
    again = scan(out, quiet=True)
    assert (again.labels.values, again.labels.ignore) == ((0, 1, 2), 3)


def test_what_is_missing_is_said_before_anything_is_written(catalogue, tmp_path) -> None:
    out = tmp_path / "Dataset501_Veins"
    with pytest.raises(DataError, match="no mask of c; write them with `fewmask predict RUN DATA --uncertainty"):
        export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, quiet=True)
    predicted(catalogue, tmp_path / "masks")
    (tmp_path / "masks" / "uncertainty" / "c.nii.gz").unlink()
    with pytest.raises(DataError, match="no uncertainty map of c"):
        export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, quiet=True)
    with pytest.raises(SettingsError, match="for example Dataset501_Heart"):
        export(catalogue, SPLIT, tmp_path / "masks", tmp_path / "export", preparation=FLAT, quiet=True)
    with pytest.raises(SettingsError, match="--doubt 2: between 0 and 1"):
        export(catalogue, SPLIT, tmp_path / "masks", out, preparation=FLAT, doubt=2, quiet=True)
    assert not out.exists()


@pytest.mark.parametrize("rejected", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_labelled_slices_are_true_and_the_rest_is_trusted_or_ignored(catalogue, tmp_path, dims, rejected) -> None:
    """Of c slice 1 is labelled, along the axis on which the loader counts slices."""
    predicted(catalogue, tmp_path / "masks")
    c = replace(catalogue.by_id["c"], label=tmp_path / "true.nii.gz")
    grid = read_header(c.images[0]).grid
    write_mask(c.label, np.roll(TRUTH, 1), grid, c.images[0])
    known = replace(catalogue, cases=(c, *(case for case in catalogue.cases if case.id != "c")))
    preparation = Preparation(dims=dims, size=(16, 16) if dims == 2 else None, channels=1)
    export(
        known,
        Split(labelled=("c:1",), unlabelled=("a",), val=("b",), test=("d",)),
        tmp_path / "masks",
        tmp_path / "Dataset501_V",
        preparation=preparation,
        rejected={"a", "c"} if rejected else {"a"},
        quiet=True,
    )
    found, _ = read_mask(tmp_path / "Dataset501_V" / "labelsTr" / "c.nii.gz", c.images[0])
    turn, _ = prepared_geometry(grid, preparation)
    trusted, true = (np.searchsorted([0, 7, 200], mask) for mask in (TRUTH, np.roll(TRUTH, 1)))
    trusted[slice(None) if rejected else -1] = 3  # in doubt
    wanted = turn.apply(trusted)
    wanted[1] = turn.apply(true)[1]
    assert np.array_equal(turn.apply(found), wanted)
