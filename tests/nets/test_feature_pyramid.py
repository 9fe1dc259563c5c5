"""The neck: grid and width of what comes out, a gradient from every level, and constants that pass through resizing."""

import torch

from fewmask.nets.feature_pyramid import FeaturePyramid, resized


def test_all_levels_reach_the_finest_grid():
    neck = FeaturePyramid(2, (3, 5, 7), 16)
    features = [
        torch.randn(2, channels, *size, requires_grad=True)
        for channels, size in ((3, (17, 23)), (5, (9, 12)), (7, (5, 6)))
    ]
    found = neck(tuple(features))
    assert found.shape == (2, 16, 17, 23)
    found.square().sum().backward()
    assert all(bool(feature.grad.any()) for feature in features)


def test_in_three_dimensions_too():
    features = (torch.randn(1, 2, 5, 9, 7), torch.randn(1, 4, 3, 5, 4))
    assert FeaturePyramid(3, (2, 4), 16)(features).shape == (1, 16, 5, 9, 7)


def test_resizing_keeps_constants_and_averages_pairs():
    assert torch.equal(resized(torch.full((1, 1, 5, 4), 2.0), (9, 7)), torch.full((1, 1, 9, 7), 2.0))
    line = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    torch.testing.assert_close(resized(line, (1, 2)), torch.tensor([[[[1.0, 5.0]]]]))
