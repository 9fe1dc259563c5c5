"""The V-Net is that of UA-MT."""

from __future__ import annotations

import torch
from torch import nn

from fewmask.nets.vnet import VNet


def vnet(**settings) -> VNet:
    defaults = {"channels": 1, "classes": 3, "dims": 2, "width": 4, "dropout": 1.0, "normalisation": "batch"}
    return VNet(**{**defaults, **settings})


def test_size_is_ua_mts():
    """SSL4MIS: VNet(n_channels=1, n_classes=2, n_filters=16, normalization='batchnorm')."""
    count = sum(parameter.numel() for parameter in vnet(width=16, classes=2, dims=3).parameters())
    assert count == 9_448_866


def test_skips_are_added():
    torch.manual_seed(0)
    net = vnet().eval()
    pyramid = net.encode(torch.randn(1, 1, 32, 32))
    expected = net.decoder[0](net.up[0](pyramid[4]) + pyramid[3])
    assert torch.equal(net.decode(pyramid)[0], expected)


def test_whole_channels_are_dropped_at_the_bottom_and_before_the_head():
    torch.manual_seed(0)
    net = vnet(width=16)
    assert net.dropout.p == 0.5
    assert vnet(dropout=0.2).dropout.p == 0.1
    bottom = net.encode(torch.randn(2, 1, 48, 48))[-1]
    silent = (bottom == 0).all(dim=(2, 3)).float().mean()
    assert 0.3 < silent < 0.75  # a channel that ReLU silences everywhere counts too
    embedding = torch.randn(2, 16, 8, 8)
    assert not torch.equal(net.classify(embedding), net.classify(embedding))


def test_a_last_odd_voxel_is_seen():
    torch.manual_seed(0)
    net = vnet().eval()
    image = torch.zeros(1, 1, 17, 17)
    changed = image.clone()
    changed[..., -1, -1] = 1
    assert not torch.equal(net.encode(image)[1][..., -1, -1], net.encode(changed)[1][..., -1, -1])
    assert isinstance(net.down[0][0], nn.Conv2d)
