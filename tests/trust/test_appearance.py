"""The numbers of an image say what they are named for."""

import numpy as np
import pytest
from scipy import ndimage

from fewmask.trust.appearance import COARSE, appearance, descriptor


def image(seed=0, shape=(1, 5, 33, 29)):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 1, 3, 3))
    return ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)


def test_noise_is_measured_in_its_own_deviation():
    for sigma in (0.1, 0.3):
        noisy = image() + np.random.default_rng(1).normal(0, sigma, image().shape).astype(np.float32)
        assert np.exp(appearance(noisy)["noise"]) == pytest.approx(sigma, rel=0.15)


def test_blur_lowers_sharpness_and_padding_is_flat():
    sharp = image()
    blurred = ndimage.gaussian_filter(sharp, (0, 0, 3, 3))
    assert appearance(blurred)["sharpness"] < appearance(sharp)["sharpness"] - 0.3
    padded = sharp.copy()
    padded[..., :15] = -1
    assert appearance(padded)["flat"] == pytest.approx(0.5, abs=0.02)
    assert appearance(sharp)["flat"] < 0.01


def test_every_channel_has_its_numbers_and_constant_images_do_not_break():
    two = np.concatenate([image(), np.zeros_like(image())])
    found = appearance(two)
    assert len(found) == 2 * len(appearance(image()))
    assert all(np.isfinite(list(found.values())))
    assert appearance(np.zeros((1, 1, 1, 1), np.float32))["flat"] == 0


@pytest.mark.parametrize("shape", [(1, 8, 16, 24), (1, 1, 16, 16), (2, 3, 17, 23), (1, 1, 3, 5)])
def test_the_descriptor_is_a_coarse_copy_of_any_shape(shape):
    found = descriptor(np.full(shape, 2.5, np.float32))
    assert len(found) == np.prod(COARSE) and set(found) == {2.5}


def test_blocks_of_an_even_division_are_means():
    array = np.random.default_rng(0).random((1, 8, 16, 24)).astype(np.float32)
    expected = array[0].reshape(4, 2, 8, 2, 8, 3).mean(axis=(1, 3, 5)).ravel()
    np.testing.assert_allclose(descriptor(array), expected, atol=6e-4)
