"""Masks lie where their image lies: a predictor that returns the given mask gives it back, voxel by voxel.

The images show their own mask, so that a perfect predictor rounds.  Every order and direction of the axes, straight,
oblique and sheared, with the one form or the other, one channel or four.
"""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch

from fewmask.config import Predict
from fewmask.data import formats
from fewmask.prediction import predict_case
from fewmask.predictors import Model, Predictor
from fewmask.types import Case, LabelSet

LABELS = LabelSet(names=("background", "one", "two"), values=(0, 7, 200))
SETTINGS = Predict()
OBLIQUE = np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]])
ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
SHEAR = np.array([[1, 0.0, 0.3], [0, 1, -0.2], [0, 0, 1]])
DIRECTIONS = {"straight": np.eye(3), "oblique": np.linalg.qr(OBLIQUE)[0], "sheared": OBLIQUE @ SHEAR}
FORMS = {"both": (1, 2), "sform alone": (0, 2), "qform alone": (1, 0)}


class Rounding(Predictor):
    """The class is the mean over channels, rounded: a perfect segmenter of images that show their own mask."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(20.0))

    @property
    def spec(self) -> dict:
        return {"predictor": "rounding"}

    @classmethod
    def from_spec(cls, spec: dict) -> Rounding:
        return cls()

    def forward(self, image: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
        classes = torch.arange(3.0).reshape(1, 3, *[1] * (image.ndim - 2))
        return (-self.factor * (image.mean(1, keepdim=True) - classes).abs()).softmax(1)


def model(dims: int, channels: int = 1, **preparation: object) -> Model:
    return Model(
        predictor=Rounding(),
        labels=LABELS,
        preparation={"dims": dims, "channels": channels, **preparation},
        intensity="rgb",
        fingerprint={"mean": [0.0] * channels, "std": [1.0] * channels},
        patch_size=(16,) * dims,
        channels=tuple(map(str, range(channels))),
        flip=(0, 1),
    )


def placed(directions: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """An anisotropic affine (x, y, z) -> mm."""
    affine = np.eye(4)
    affine[:3, :3] = (directions * [1.25, 1.5, 4.0])[:, order] * signs
    affine[:3, 3] = (-11.5, 7.25, 101.0)
    return affine


def volume(path, values: np.ndarray, affine: np.ndarray, qform: int = 1, sform: int = 2):
    image = nib.Nifti1Image(values.T.astype(np.float32), None)
    image.set_qform(affine, code=qform, strip_shears=True)
    image.set_sform(affine, code=sform)
    nib.save(image, path)
    return path


def returned(path, chosen: Model, case: Case) -> nib.Nifti1Image:
    """The mask that is predicted of `case`, written and read again by nibabel."""
    found = predict_case(chosen, case, settings=SETTINGS)
    formats.write_mask(path, found.mask, found.grid, case.images[0])
    return nib.load(path)


PLACES = [pair for pair in product(DIRECTIONS, FORMS) if pair != ("sheared", "qform alone")]  # a qform cannot shear


@pytest.mark.slow
@pytest.mark.parametrize(
    "directions, forms, dims", [(*pair, 3) for pair in PLACES] + [(name, "both", 2) for name in DIRECTIONS]
)
def test_the_given_mask_comes_back_bit_for_bit(tmp_path, directions: str, forms: str, dims: int) -> None:
    truth = np.random.default_rng(0).integers(0, 3, (3, 7, 5)).astype(np.uint8)
    chosen = model(dims)
    for number, (order, signs) in enumerate(ORDERS):
        affine = placed(DIRECTIONS[directions], order, signs)
        path = volume(tmp_path / f"{number}.nii", truth, affine, *FORMS[forms])
        mask = returned(tmp_path / "mask.nii", chosen, Case(id="a", patient="a", images=(path,)))
        np.testing.assert_array_equal(np.asarray(mask.dataobj).T, np.array(LABELS.values)[truth])
        np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
        np.testing.assert_array_equal(mask.get_qform(), nib.load(path).get_qform())
    assert number == 47


def ball(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """An ellipsoid about the centre, in mm far larger than a voxel."""
    axes = [(np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return ((z / 36) ** 2 + (y / 30) ** 2 + (x / 24) ** 2 < 1).astype(np.uint8)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("order, signs", [ORDERS[0], ORDERS[13], ORDERS[30], ORDERS[47]])
@pytest.mark.parametrize("plan", [{"dims": 3, "spacing_mm": [1.2, 1.2, 1.2]}, {"dims": 2, "size": [80, 96]}])
def test_resampled_masks_keep_their_place(tmp_path, plan: dict, order: tuple, signs: tuple) -> None:
    directions = DIRECTIONS["oblique"] / [1.25, 1.5, 4.0]  # undoes `placed`: 1 mm along all axes before scaling
    spacing = np.array([1.0, 1.0, 1.3])[list(order)]
    affine = placed(directions * [1.0, 1.0, 1.3], order, signs)
    truth = ball((81, 77, 79), tuple(spacing[::-1]))
    path = volume(tmp_path / "a.nii", truth, affine)
    mask = returned(tmp_path / "mask.nii", model(**plan), Case(id="a", patient="a", images=(path,)))
    np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
    assert dice(np.asarray(mask.dataobj).T == 7, truth == 1) >= 0.99


def test_four_sequences_in_one_file_and_in_four(tmp_path) -> None:
    truth = np.random.default_rng(1).integers(0, 3, (3, 7, 5)).astype(np.uint8)
    sequences = [truth + shift for shift in (-0.2, 0.1, 0.3, -0.2)]  # their mean is the mask
    affine = placed(DIRECTIONS["oblique"], (1, 2, 0), (1, -1, 1))
    apart = tuple(volume(tmp_path / f"a_{n:04d}.nii", values, affine) for n, values in enumerate(sequences))
    together = tmp_path / "b.nii"
    nib.save(nib.Nifti1Image(np.stack([values.T for values in sequences], -1).astype(np.float32), affine), together)
    for images in (apart, (together,)):
        mask = returned(tmp_path / "mask.nii", model(3, 4), Case(id="a", patient="a", images=images))
        np.testing.assert_array_equal(np.asarray(mask.dataobj).T, np.array(LABELS.values)[truth])
        np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_a_sequence_that_was_stored_in_another_order_is_brought_onto_the_first(tmp_path) -> None:
    truth = np.random.default_rng(2).integers(0, 3, (4, 7, 5)).astype(np.uint8)
    affine = placed(DIRECTIONS["oblique"], (0, 1, 2), (1, 1, 1))
    first = volume(tmp_path / "first.nii", truth, affine)
    turned = nib.load(first).as_reoriented([[2, -1], [0, 1], [1, -1]])
    nib.save(turned, tmp_path / "second.nii")
    case = Case(id="a", patient="a", images=(first, tmp_path / "second.nii"))
    mask = returned(tmp_path / "mask.nii", model(2, 2), case)
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, np.array(LABELS.values)[truth])
