import json

import numpy as np
import pytest

from fewmask.data.intensity import (
    KINDS,
    case_statistics,
    fit_fingerprint,
    foreground_statistics,
    normalise,
)
from fewmask.errors import DataError


def picture(seed=0, channels=2, offset=100.0):
    rng = np.random.default_rng(seed)
    scale = np.arange(1, channels + 1).reshape(-1, 1, 1, 1)
    return (rng.normal(size=(channels, 5, 17, 23)) * scale + offset).astype(np.float32)


def test_zscore_is_numpys():
    image = picture()
    found = normalise(image, "zscore", case_statistics(image), {})
    expected = (image - image.mean((1, 2, 3), keepdims=True)) / image.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.dtype == np.float32


def test_moments_survive_a_large_offset():
    image = picture(offset=1e5)
    statistics = case_statistics(image)
    np.testing.assert_allclose(statistics["std"], image.astype(np.float64).std((1, 2, 3)), rtol=1e-6)


def test_percentile_clips_and_standardises():
    image = picture()
    image[0, 0, 0, 0] = 1e6
    found = normalise(image, "percentile", case_statistics(image), {})
    assert np.abs(found).max() < 4
    np.testing.assert_allclose(found.std((1, 2, 3)), 1, rtol=1e-3)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_is_normalised_as_the_whole(kind):
    image = picture()
    statistics = case_statistics(image)
    fingerprint = fit_fingerprint(kind, [statistics], [foreground_statistics(image, image[0] > 100)])
    whole = normalise(image, kind, statistics, fingerprint)
    crop = normalise(image[:, 2, 3:9], kind, statistics, fingerprint)
    assert np.array_equal(crop, whole[:, 2, 3:9])


@pytest.mark.parametrize("kind", ["zscore", "percentile", "rgb"])
def test_constant_image_gives_zeros(kind):
    image = np.full((1, 2, 5, 7), 3.7, np.float32)
    statistics = case_statistics(image)
    assert not np.abs(normalise(image, kind, statistics, fit_fingerprint(kind, [statistics]))).max() > 1e-5


def test_a_single_hot_voxel_is_bounded():
    image = picture(channels=1, offset=0)
    image[0, 0, 0, 0] = 1e4
    assert np.abs(normalise(image, "zscore", case_statistics(image), {})).max() == 10


def test_rgb_pools_the_training_images():
    images = [picture(seed, 3, offset) for seed, offset in enumerate((90.0, 110.0))]
    fingerprint = fit_fingerprint("rgb", [case_statistics(image) for image in images])
    both = np.concatenate(images, axis=1)
    np.testing.assert_allclose(fingerprint["mean"], both.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(fingerprint["std"], both.std((1, 2, 3)), rtol=1e-5)


def test_ct_window_is_that_of_labelled_foreground():
    image = np.full((1, 3, 9, 11), -1000, np.float32)
    organ = np.zeros((3, 9, 11), bool)
    organ[1, 2:6, 3:8] = True
    image[0, organ] = np.linspace(20, 80, organ.sum())
    fingerprint = fit_fingerprint("ct", [case_statistics(image)], [foreground_statistics(image, organ)])
    low, high = np.percentile(image[0, organ], (0.5, 99.5))
    np.testing.assert_allclose([fingerprint["low"][0], fingerprint["high"][0]], [low, high], atol=0.5)
    found = normalise(image, "ct", case_statistics(image), fingerprint)
    assert found.min() == pytest.approx((low - 50) / image[0, organ].std(), rel=0.05)


def test_ct_without_foreground_says_what_to_do():
    image = picture(channels=1)
    empty = foreground_statistics(image, np.zeros(image.shape[1:], bool))
    with pytest.raises(DataError, match=r"plan\.intensity=percentile"):
        fit_fingerprint("ct", [case_statistics(image)], [empty])


def test_statistics_are_json():
    image = picture()
    statistics = case_statistics(image)
    assert json.loads(json.dumps(statistics)) == statistics


def test_unknown_kind_is_named():
    image = picture()
    with pytest.raises(ValueError, match="intensity 'z'"):
        normalise(image, "z", case_statistics(image), {})
