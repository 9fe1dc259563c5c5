"""Real volumes as DICOM series and back: the same masks are predicted of both, and DICOM-SEG returns every voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.config import Network, Predict
from fewmask.data import formats
from fewmask.data.grid import turned_onto
from fewmask.data.scan import scan
from fewmask.nets import build_segmenter
from fewmask.prediction import predict_case
from fewmask.predictors import Model, SegmenterPredictor
from fewmask.types import Case, LabelSet, Task

LABELS = LabelSet(names=("background", "Anterior", "Posterior"), values=(0, 1, 2))
CASES = 5


def small_network() -> SegmenterPredictor:
    """A network with random weights: its masks are ragged, so that a voxel out of place shows."""
    torch.manual_seed(0)
    task = Task(channels=1, classes=3, names=LABELS.names, patch_size=(32, 48))
    return SegmenterPredictor(build_segmenter(Network(width=4), task))


@pytest.mark.real_data
@pytest.mark.slow
def test_hippocampus_as_dicom(dicoms, real_data: Path, tmp_path) -> None:
    folder = real_data / "Task04_Hippocampus"
    whole = []
    for path in sorted((folder / "imagesTr").glob("*.nii.gz")):
        image, grid = formats.read_image(path)
        if (image == np.rint(image)).all() and np.abs(image).max() < 32768 and len(whole) < CASES:
            whole.append((path, image[0].astype(np.int16), grid))
    assert len(whole) == CASES
    for path, volume, grid in whole:
        dicoms.series(formats.stem(path), volume, grid.affine, PatientID=formats.stem(path), Modality="MR")
    catalogue = scan(dicoms.root, quiet=True)
    assert [case.id for case in catalogue.cases] == [formats.stem(path) for path, _, _ in whole]
    model = Model(
        predictor=small_network(),
        labels=LABELS,
        preparation={"dims": 2, "channels": 1, "size": [32, 48]},
        intensity="zscore",
        fingerprint={},
        patch_size=(32, 48),
        channels=("MRI",),
        flip=(),
    )
    for (path, volume, grid), case in zip(whole, catalogue.cases, strict=True):
        image, there = formats.read_image(case.images[0])
        turn = turned_onto(there, grid)
        np.testing.assert_array_equal(turn.apply(image[0]), volume)
        np.testing.assert_allclose(turn.apply_grid(there).affine, grid.affine, atol=1e-5)
        by_nifti = predict_case(model, Case(id=case.id, patient="", images=(path,)), settings=Predict())
        by_dicom = predict_case(model, case, settings=Predict())
        assert len(np.unique(by_nifti.mask)) > 1
        np.testing.assert_array_equal(turn.apply(by_dicom.mask), by_nifti.mask)
        for ending in (".dcm", ".nii.gz", ".seg.nrrd"):
            out = tmp_path / f"{case.id}{ending}"
            formats.write_mask(out, by_dicom.mask, by_dicom.grid, case.images[0], LABELS)
            np.testing.assert_array_equal(formats.read_mask(out, case.images[0])[0], by_dicom.mask)
        truth, own = formats.read_mask(folder / "labelsTr" / path.name)
        truth = turned_onto(own, there).apply(truth)
        formats.write_mask(tmp_path / "truth.dcm", truth, there, case.images[0], LABELS)
        np.testing.assert_array_equal(formats.read_mask(tmp_path / "truth.dcm", case.images[0])[0], truth)
