"""The complementary term of the released code: its known values."""

import math

import pytest
import torch

from fewmask.methods.complementary import complementary, spatial_certainty


def test_certainty_is_none_for_uniform_maps_and_one_for_single_voxels():
    assert float(spatial_certainty(torch.full((2, 4, 8, 8), 0.25))) == pytest.approx(0, abs=1e-5)
    single = torch.zeros(1, 4, 8, 8)
    for index in range(4):
        single[0, index, index, 3] = 1.0
    assert float(spatial_certainty(single)) == pytest.approx(1, abs=1e-4)


def test_the_cross_entropy_lies_where_it_can():
    """For four classes within [1.147, 2.215], at most log 4 where both views agree on the least likely class."""
    generator = torch.Generator().manual_seed(0)
    strong, weak = (torch.randn(2, 4, 9, 9, generator=generator).mul(3).softmax(1) for _ in range(2))
    certainty = spatial_certainty(strong) ** 2
    assert 1.147 <= float(complementary(strong, weak) / certainty) <= 2.215
    assert float(complementary(strong, strong) / certainty) <= math.log(4)


def test_the_gradient_passes_through_the_certainty_and_not_to_the_weak_view():
    logits = torch.randn(1, 3, 5, 5, requires_grad=True)
    weak = torch.randn(1, 3, 5, 5, requires_grad=True)
    complementary(logits.softmax(1), weak.softmax(1)).backward()
    assert logits.grad.abs().sum() > 0 and weak.grad is None
