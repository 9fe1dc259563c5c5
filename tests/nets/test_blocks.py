"""Blocks in two and three dimensions: sizes are kept and odd ones undone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewmask.nets.blocks import conv_stages, crop, enlarge, halve_by_pooling, norm, pad_to_even


@pytest.mark.parametrize("channels", [1, 3, 8, 12, 17, 256])
def test_groups_divide_the_channels(channels):
    layer = norm("group", 2, channels)
    assert channels % layer.num_groups == 0
    assert layer.num_groups == {1: 1, 3: 3, 8: 8, 12: 6, 17: 1, 256: 8}[channels]


def test_padding_is_undone_by_cropping():
    x = torch.randn(2, 1, 5, 8, 3)
    padded = pad_to_even(x)
    assert padded.shape == (2, 1, 6, 8, 4)
    assert torch.equal(padded[:, :, -1], padded[:, :, -2])
    assert torch.equal(crop(padded, x.shape[2:]), x)
    even = torch.randn(1, 1, 4, 6)
    assert pad_to_even(even) is even


def test_enlarging_keeps_corners_and_doubles_like_upsample():
    x = torch.randn(1, 2, 4, 6)
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    assert torch.allclose(enlarge(x, (8, 12)), upsample(x))
    larger = enlarge(x, (7, 11))
    assert torch.allclose(larger[..., 0, 0], x[..., 0, 0])
    assert torch.allclose(larger[..., -1, -1], x[..., -1, -1])


@pytest.mark.parametrize("dims", [2, 3])
def test_pooling_keeps_an_odd_rest(dims):
    x = torch.zeros(1, 1, *[5] * dims)
    x[(0, 0, *[4] * dims)] = 7
    pooled = halve_by_pooling(dims)(x)
    assert pooled.shape[2:] == (3,) * dims
    assert pooled.flatten()[-1] == 7


@pytest.mark.parametrize("dims", [2, 3])
def test_stages_keep_the_size_and_drop_only_between_convolutions(dims):
    stages = conv_stages(3, dims, 2, 5, normalisation="batch", activation=nn.ReLU, dropout=0.3)
    assert stages(torch.randn(2, 2, *[6, 5, 4][:dims])).shape == (2, 5, *[6, 5, 4][:dims])
    kinds = [type(layer).__name__.rstrip("23d") for layer in stages]
    assert kinds == [
        "Conv",
        "BatchNorm",
        "ReLU",
        "Dropout",
        "Conv",
        "BatchNorm",
        "ReLU",
        "Dropout",
        "Conv",
        "BatchNorm",
        "ReLU",
    ]
