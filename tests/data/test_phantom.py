"""Phantoms: plausible anatomy, repeatable, and readable by the readers."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import label as components

from fewmask.data import formats, phantom
from fewmask.data.grid import orientation
from fewmask.seeding import generator

SIZE = (3, 83, 90)


def rendered(patient, phase, size=SIZE):
    rng = generator(0, "phantom", patient)
    heart = phantom.draw_heart(rng)
    return heart, *phantom.render(heart, phase, size, rng)


def test_the_folder_is_an_nnunet_one(tmp_path):
    phantom.write_phantoms(tmp_path, patients=3, labelled=2, size=(3, 24, 20), frames=2)
    images = sorted(path.name for path in (tmp_path / "imagesTr").iterdir())
    masks = sorted(path.name for path in (tmp_path / "labelsTr").iterdir())
    assert images == [f"patient{p:03d}_frame{f:02d}_0000.nii.gz" for p in (1, 2, 3) for f in (1, 2)]
    assert masks == [f"patient{p:03d}_frame{f:02d}.nii.gz" for p in (1, 2) for f in (1, 2)]
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "RV": 1, "myocardium": 2, "LV": 3}
    assert described["numTraining"] == 4
    grids = set()
    for mask in (tmp_path / "labelsTr").iterdir():
        image, grid = formats.read_image(tmp_path / "imagesTr" / mask.name.replace(".nii", "_0000.nii"))
        assert (image.shape, grid.shape) == ((1, 3, 24, 20), (3, 24, 20))
        np.testing.assert_allclose(grid.spacing_mm, phantom.SPACING_MM, rtol=1e-5)
        assert formats.read_header(mask).grid == grid
        turned = orientation(grid, slices=True)
        assert nib.aff2axcodes(turned.apply_grid(grid).affine) == ("S", "A", "R")
        assert turned.flips == (True, True, True)
        grids.add(grid)
    assert len(grids) == 2  # oblique, one place a patient


def test_a_patient_depends_on_seed_and_number_only(tmp_path):
    for name, patients, seed in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        phantom.write_phantoms(tmp_path / name, patients=patients, size=(2, 16, 16), frames=1, seed=seed)
    first = [(tmp_path / name / "imagesTr/patient001_frame01_0000.nii.gz").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]


def test_anatomy_is_plausible():
    volumes = []
    for patient in range(5):
        heart, image, label = rendered(patient, 0.0)
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert set(np.unique(label)) == {0, 1, 2, 3}
        contracted = phantom.render(heart, 1.0, SIZE, generator(1))[1]
        assert (contracted == 3).sum() < (label == 3).sum()
        for index in (2, 3):  # each slice has one ventricle and one ring around it
            assert all(components(plane)[1] <= 1 for plane in label == index)
        inside, wall = label == 3, label == 2
        for plane in range(SIZE[0]):
            if inside[plane].any():  # the cavity touches muscle alone, never the background
                grown = np.zeros_like(inside[plane])
                for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
                    grown |= np.roll(inside[plane], shift, axis)
                assert ((label[plane] != 0) | ~grown).mean() > 0.99
                assert wall[plane].any()
        volumes.append((label == 3).sum())
    assert max(volumes) > 2 * min(volumes)  # patients differ


def test_intensity_tells_blood_from_muscle_but_not_blood_from_blood():
    contrast = []
    for patient in range(5):
        _, image, label = rendered(patient, 0.0)
        right, muscle, left = (np.median(image[label == index]) for index in (1, 2, 3))
        assert left > muscle
        contrast.append(abs(left - right) / left)
    assert np.median(contrast) < 0.25


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_come_in_pairs(tmp_path, colour):
    phantom.write_pictures(tmp_path, patients=2, frames=2, size=(33, 37), colour=colour, values=(0, 0, 0, 255))
    pictures = sorted(path.relative_to(tmp_path / "images") for path in (tmp_path / "images").rglob("*.png"))
    assert [str(path) for path in pictures] == [f"patient{p}/{f:04d}.png" for p in (1, 2) for f in (1, 2)]
    for name in pictures:
        header = formats.read_header(tmp_path / "images" / name)
        mask, grid = formats.read_mask(tmp_path / "masks" / name)
        assert (header.channels, header.grid) == (3 if colour else 1, grid)
        assert set(np.unique(mask)) == {0, 255}
