"""High-pass filters on constants, boxes, waves and ramps."""

import pytest
import torch

from fewmask.nets.high_pass import FILTERS

SIZES = [(9, 12), (7, 7, 5), (8, 6, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILTERS)
def test_a_constant_becomes_zero(name, size):
    assert FILTERS[name](torch.full((2, 3, *size), 3.7)).abs().max() < 2e-6
    assert FILTERS[name](torch.randn(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("name", FILTERS)
def test_a_box_answers_at_its_faces(name):
    box = torch.zeros(1, 1, 24, 24, 24)
    box[..., 5:19, 5:19, 5:19] = 1
    answer = FILTERS[name](box).abs()[0, 0]
    assert answer[12, 12, 5] > 0.25  # just inside a face
    assert answer[12, 12, 12] < 0.02 and answer[1, 1, 1] < 0.02


def test_the_gaussian_is_that_of_the_specification():
    """A wave of frequency f keeps 1 - exp(-f^2 / 2 sigma^2) of its height."""
    wave = torch.cos(2 * torch.pi * 3 / 24 * torch.arange(24.0)).view(1, 1, 1, 24).expand(1, 1, 8, 24)
    torch.testing.assert_close(FILTERS["fft"](wave), wave * (1 - torch.exp(torch.tensor(-0.5))), atol=1e-5, rtol=0)


def test_sobel_is_the_slope_of_a_ramp():
    ramp = (2 * torch.arange(9.0)).view(1, 1, 9, 1).expand(1, 1, 9, 7)
    torch.testing.assert_close(FILTERS["sobel"](ramp)[0, 0, 1:-1], torch.full((7, 7), 2.0))
