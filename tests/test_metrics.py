"""Metrics against identities, analytic cases and MONAI; the rules for empty masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import metrics as monai_metrics
from scipy import ndimage

from fewmask.metrics import confusion, dice, iou, note, score_classes, surface_scores


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return noise > noise.std()


def test_confusion_counts_every_pair():
    reference = np.array([[0, 1, 2], [1, 1, 0]])
    prediction = np.array([[0, 1, 1], [2, 1, 0]])
    assert confusion(prediction, reference, 3).tolist() == [[2, 0, 0], [0, 2, 1], [0, 1, 0]]
    valid = np.array([[1, 1, 1], [0, 1, 0]], bool)
    assert confusion(prediction, reference, 3, valid).tolist() == [[1, 0, 0], [0, 2, 0], [0, 1, 0]]


def test_confusion_does_not_depend_on_slabs(monkeypatch):
    chance = np.random.default_rng(0)
    prediction, reference = chance.integers(0, 4, (2, 7, 11, 13))
    valid = chance.random((7, 11, 13)) > 0.3
    whole = confusion(prediction, reference, 4, valid)
    monkeypatch.setattr("fewmask.metrics.SLAB_VOXELS", 300)
    assert np.array_equal(confusion(prediction, reference, 4, valid), whole)


def test_overlap_of_known_masks():
    counts = confusion(np.array([[1, 1, 0, 0, 2]]), np.array([[1, 0, 1, 0, 2]]), 4)
    assert dice(counts)[:3].tolist() == [0.5, 0.5, 1.0]
    assert iou(counts)[:3].tolist() == pytest.approx([1 / 3, 1 / 3, 1.0])
    assert math.isnan(dice(counts)[3])
    assert math.isnan(iou(counts)[3])


def test_two_voxels_2_mm_apart():
    first, second = np.zeros((2, 5, 5), bool)
    first[2, 2] = second[3, 2] = True
    scores = surface_scores(first, second, (2.0, 1.0))
    assert (scores.hd95, scores.assd, scores.surface_dice) == (2.0, 2.0, 0.0)
    assert surface_scores(first, second, (1.0, 2.0)).surface_dice == 1.0


def test_a_box_against_itself_is_perfect():
    mask = np.zeros((5, 17, 23), bool)
    mask[1:4, 3:9, 20:] = True
    scores = surface_scores(mask, mask, (8.0, 1.5, 1.5))
    assert (scores.hd95, scores.assd, scores.surface_dice) == (0.0, 0.0, 1.0)


def test_hd95_is_the_larger_directed_percentile_and_not_the_pooled_one():
    reference = np.zeros((1, 200), bool)
    reference[0, :2] = True
    prediction = np.zeros((1, 200), bool)
    prediction[0, 0] = prediction[0, 100] = True
    # reference -> prediction: 0 and 1; prediction -> reference: 0 and 99
    assert surface_scores(prediction, reference, (1, 1)).hd95 == pytest.approx(0.95 * 99)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@pytest.mark.parametrize(
    ("shape", "spacing"), [((9, 31, 27), (8.0, 1.5, 1.25)), ((33, 41), (0.5, 2.0)), ((17, 23, 19), (1.0, 1.0, 1.0))]
)
def test_distances_are_monais(shape, spacing):
    prediction, reference = blobs(shape, 0), blobs(shape, 1)
    scores = surface_scores(prediction, reference, spacing)
    pair = {
        "y_pred": torch.from_numpy(prediction)[None, None],
        "y": torch.from_numpy(reference)[None, None],
        "include_background": True,
        "spacing": spacing,
    }
    assert scores.hd95 == pytest.approx(monai_metrics.compute_hausdorff_distance(percentile=95, **pair).item())
    assert scores.assd == pytest.approx(monai_metrics.compute_average_surface_distance(symmetric=True, **pair).item())
    expected = monai_metrics.compute_surface_dice(class_thresholds=[1.0], **pair).item()
    assert scores.surface_dice == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), axes=st.permutations([0, 1, 2]))
def test_distances_do_not_depend_on_the_order_of_axes_or_masks(seed, axes):
    chance = np.random.default_rng(seed)
    prediction, reference = chance.random((2, 4, 5, 6)) > 0.8
    spacing = (3.0, 1.0, 0.5)
    here = surface_scores(prediction, reference, spacing)
    turned = surface_scores(reference.transpose(axes), prediction.transpose(axes), [spacing[axis] for axis in axes])
    assert here.hd95 == pytest.approx(turned.hd95, nan_ok=True)
    assert here.assd == pytest.approx(turned.assd, nan_ok=True)
    assert here.surface_dice == pytest.approx(turned.surface_dice, nan_ok=True)


def test_one_slice_is_measured_in_its_plane():
    prediction, reference = blobs((1, 40, 30), 0), blobs((1, 40, 30), 1)
    assert surface_scores(prediction, reference, (8.0, 2.0, 1.0)) == surface_scores(
        prediction[0], reference[0], (2.0, 1.0)
    )


def test_a_single_voxel_image():
    full = np.ones((1, 1, 1), bool)
    assert surface_scores(full, full, (2.0, 1.0, 1.0)).hd95 == 0
    assert surface_scores(full, ~full, (2.0, 1.0, 1.0)).hd95 == 2.0


def test_rules_for_empty_masks():
    reference = np.zeros((3, 4, 12), np.uint8)
    reference[1, 1, 1] = 1
    prediction = np.zeros_like(reference)
    prediction[1, 1, 1] = 2
    (missed, hallucinated, absent), counts = score_classes(prediction, reference, 4, (1.0, 1.0, 1.0))
    assert [missed.note, hallucinated.note, absent.note] == ["missed", "hallucinated", "both_empty"]
    assert [note(counts, label) for label in range(4)] == ["", "missed", "hallucinated", "both_empty"]
    for score in (missed, hallucinated):
        assert (score.dice, score.iou, score.surface_dice) == (0, 0, 0)
        assert score.hd95 == score.assd == 13.0  # 3, 4, 12: the diagonal of the image
    assert all(math.isnan(getattr(absent, name)) for name in ("dice", "iou", "hd95", "assd", "surface_dice"))
    assert (missed.voxels, missed.reference_voxels, hallucinated.voxels) == (0, 1, 1)


def test_the_diagonal_is_in_the_unit_of_the_spacing():
    full = np.ones((1, 3, 4), bool)
    assert surface_scores(full, ~full, (5.0, 2.0, 2.0)).assd == 10.0


def test_invalid_voxels_belong_to_no_class():
    chance = np.random.default_rng(0)
    prediction, reference = chance.integers(0, 3, (2, 5, 9, 11)).astype(np.uint8)
    valid = chance.random(reference.shape) > 0.4
    scores, counts = score_classes(prediction, reference, 3, (3.0, 1.0, 1.0), valid)
    assert counts.sum() == valid.sum()
    changed = np.where(valid, prediction, (prediction + 1) % 3)
    assert score_classes(changed, np.where(valid, reference, 255), 3, (3.0, 1.0, 1.0), valid)[0] == scores
    blanked = score_classes(np.where(valid, prediction, 0), np.where(valid, reference, 0), 3, (3.0, 1.0, 1.0))[0]
    assert blanked == scores
