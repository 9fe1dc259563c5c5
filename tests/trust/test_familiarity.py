"""Usual is what most training images are; one that is far off does not stretch it."""

import numpy as np
import pytest

from fewmask.trust.familiarity import LEAST, class_ranges, familiar_images


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return [{"noise": float(rng.normal(2, 0.5)), "sharpness": float(rng.normal(-1, 0.2))} for _ in range(count)]


def test_few_images_make_nothing_usual(evidence):
    assert familiar_images(images(LEAST - 1)) is None
    assert class_ranges([evidence()] * (LEAST - 1), ("one",)) == {}


def test_images_of_the_same_kind_are_familiar_and_others_are_not():
    familiar = familiar_images(images(60))
    shares = [familiar.distance(image)[0] <= familiar.most for image in images(200, seed=1)]
    assert np.mean(shares) > 0.97
    distance, name = familiar.distance({"noise": 2.0, "sharpness": 2.0})
    assert distance > familiar.most and name == "sharpness"


def test_numbers_that_never_vary_do_not_divide_by_zero():
    familiar = familiar_images([{"flat": 0.5}] * LEAST)
    assert familiar.distance({"flat": 0.5}) == (0.0, "flat")
    assert np.isfinite(familiar.distance({"flat": 0.6})[0])


def test_ranges_of_classes_leave_out_empty_masks(evidence):
    seen = [evidence(voxels=int(voxels), components=n % 3) for n, voxels in enumerate(np.linspace(800, 1200, 20))]
    found = class_ranges([*seen, evidence(scores=(None,))], ("one", "absent"))
    assert set(found) == {"one"}
    assert found["one"].components == 2
    assert found["one"].size.low < 800 and found["one"].size.high > 1200
    assert found["one"].size.low * found["one"].size.high == pytest.approx(1000**2, rel=0.05)


def test_ranges_count_ml_only_where_every_image_has_a_spacing(evidence):
    seen = [evidence(voxels=1000, volume_ml=8.0) for _ in range(12)]
    assert class_ranges(seen, ("one",))["one"].unit == "ml"
    mixed = class_ranges([*seen, evidence(voxels=1000)], ("one",))["one"]
    assert mixed.unit == "voxels" and mixed.size.low < 1000 < mixed.size.high
