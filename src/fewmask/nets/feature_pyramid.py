"""One feature of several levels: the neck between an encoder and what works on a single grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, LINEAR_MODE, norm


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """x (B, C, *S) -> (B, C, *size): linear, with half-pixel centres, as DDP and as masks are brought back."""
    return F.interpolate(x, size=tuple(size), mode=LINEAR_MODE[x.ndim - 2], align_corners=False)


class FeaturePyramid(nn.Module):
    """Features of several levels -> one of `width` channels on the finest level's grid (Lin et al., CVPR 2017).

    As DDP has it: 1-convolutions, top-down nearest addition, a 3-convolution a level; then all levels are enlarged,
    concatenated and merged.  Group norms, no activation.
    """

    def __init__(self, dims: int, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(CONVOLUTION[dims](count, width, 1) for count in channels)
        self.outs = nn.ModuleList(
            nn.Sequential(CONVOLUTION[dims](width, width, 3, padding=1), norm("group", dims, width)) for _ in channels
        )
        self.merge = nn.Sequential(CONVOLUTION[dims](width * len(channels), width, 1), norm("group", dims, width))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        levels = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        for fine in reversed(range(len(levels) - 1)):
            coarse = F.interpolate(levels[fine + 1], size=levels[fine].shape[2:], mode="nearest")
            levels[fine] = levels[fine] + coarse
        size = levels[0].shape[2:]
        outs = [out(level) for out, level in zip(self.outs, levels, strict=True)]
        return self.merge(torch.cat([outs[0], *(resized(out, size) for out in outs[1:])], dim=1))
