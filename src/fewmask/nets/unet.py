"""The U-Net of SSL4MIS (Luo et al., github.com/HiLab-git/SSL4MIS), whose size the ACDC tables share, in 2-D and 3-D."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, conv_stages, enlarge, halve_by_pooling
from fewmask.nets.segmenter import Segmenter

DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Rate at each encoder level, fine to coarse; the decoder has none."""


class Up(nn.Module):
    """1-convolution to the skip's channels, linear enlargement to the skip's size, concatenation, two convolutions."""

    def __init__(self, dims: int, channels: int, skip_channels: int, **stages):
        super().__init__()
        self.reduce = CONVOLUTION[dims](channels, skip_channels, 1)
        self.merge = conv_stages(2, dims, 2 * skip_channels, skip_channels, **stages)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.merge(torch.cat([skip, enlarge(self.reduce(x), skip.shape[2:])], dim=1))


class UNet(Segmenter):
    """Five levels, two convolutions each; 1,813,764 parameters at width 16 with 1 channel and 4 classes in 2-D."""

    name = "unet"

    def __init__(self, *, channels: int, classes: int, dims: int, width: int, dropout: float, normalisation: str):
        super().__init__(
            channels=channels, classes=classes, dims=dims, width=width, dropout=dropout, normalisation=normalisation
        )
        stages = {"normalisation": normalisation, "activation": partial(nn.LeakyReLU, 0.01, inplace=True)}
        widths = self.encoder_channels
        self.encoder = nn.ModuleList(
            conv_stages(2, dims, channels_in, channels_out, dropout=dropout * rate, **stages)
            for channels_in, channels_out, rate in zip((channels, *widths), widths, DROPOUT, strict=False)
        )
        self.pool = halve_by_pooling(dims)
        self.decoder = nn.ModuleList(Up(dims, 2 * skip, skip, **stages) for skip in self.decoder_channels)
        self.head = CONVOLUTION[dims](width, classes, 3, padding=1)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        pyramid = [self.encoder[0](image)]
        for level in self.encoder[1:]:
            pyramid.append(level(self.pool(pyramid[-1])))
        return tuple(pyramid)

    def decode(self, pyramid: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        *skips, x = pyramid
        features = []
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip)
            features.append(x)
        return tuple(features)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(embedding)
