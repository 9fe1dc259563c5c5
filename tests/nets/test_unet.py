"""The U-Net is that of SSL4MIS."""

from __future__ import annotations

import torch
from torch import nn

from fewmask.nets.unet import UNet


def unet(**settings) -> UNet:
    defaults = {"channels": 1, "classes": 3, "dims": 2, "width": 4, "dropout": 1.0, "normalisation": "batch"}
    return UNet(**{**defaults, **settings})


def test_size_is_ssl4mis():
    count = sum(parameter.numel() for parameter in unet(width=16, classes=4).parameters())
    assert count == 1_813_764


def test_dropout_rises_with_depth_and_is_scaled():
    assert rates(unet()) == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert rates(unet(dropout=0.5)) == [0.025, 0.05, 0.1, 0.15, 0.25]
    assert rates(unet(dropout=0)) == []


def rates(net: nn.Module) -> list[float]:
    return [module.p for module in net.modules() if isinstance(module, nn.Dropout)]


def test_even_sizes_are_enlarged_as_upsample_does():
    """One decoder level by hand, with the layers of SSL4MIS's UpBlock."""
    torch.manual_seed(0)
    net = unet().eval()
    coarse, skip = torch.randn(2, 64, 3, 4), torch.randn(2, 32, 6, 8)
    up = net.decoder[0]
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    expected = up.merge(torch.cat([skip, upsample(up.reduce(coarse))], dim=1))
    assert torch.allclose(up(coarse, skip), expected, atol=1e-6)
