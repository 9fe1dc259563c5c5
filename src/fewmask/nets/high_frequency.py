"""High-frequency Mamba module on the skips of a network (Diff-CL, arXiv:2503.09408; its form is inferred)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION
from fewmask.nets.high_pass import FILTERS, HighPass
from fewmask.nets.mamba import Scan, VoxelMamba
from fewmask.nets.segmenter import Segmenter

Attend = Literal["detail", "features"]
"""What the attention map weighs: the high-pass part, or the features themselves."""


class HighFrequencyAttention(nn.Module):
    """x (B, C, *S) -> x + gain * attention * detail, in float32; the identity at initialisation, where the gain is 0.

    detail: what a high-pass filter leaves of x; attention: of all of its voxels at once, by Mamba.
    """

    def __init__(self, dims: int, channels: int, high_pass: HighPass, scan: Scan, attend: Attend) -> None:
        super().__init__()
        self.filter, self.attend = FILTERS[high_pass], attend
        self.mamba = VoxelMamba(channels, scan)
        self.attention = CONVOLUTION[dims](channels, channels, 1)
        self.detail = CONVOLUTION[dims](channels, channels, 1) if attend == "detail" else None
        self.gain = nn.Parameter(torch.zeros(channels, *[1] * dims))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            features = x.float()
            detail = self.filter(features)
            attention = self.attention(self.mamba(detail)).sigmoid()
            weighed = features if self.detail is None else self.detail(detail)
            return (features + self.gain * attention * weighed).to(x.dtype)


class HighFrequencySegmenter(Segmenter):
    """Another network with the module on its skips at `levels` (1 the finest, 4 the coarsest but one)."""

    name = "high_frequency"

    def __init__(
        self, base: Segmenter, *, levels: Sequence[int], high_pass: HighPass, scan: Scan, attend: Attend
    ) -> None:
        shape = {key: value for key, value in base.spec.items() if key != "name"}
        super().__init__(**shape)
        self.base = base
        self.spec = {
            "name": self.name,
            "base": base.spec,
            "levels": list(levels),
            "high_pass": high_pass,
            "scan": scan,
            "attend": attend,
        }
        self.modules_by_level = nn.ModuleDict(
            {
                str(level): HighFrequencyAttention(
                    shape["dims"], self.encoder_channels[level - 1], high_pass, scan, attend
                )
                for level in sorted(set(levels))
            }
        )

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.base.encode(image)

    def decode(self, pyramid: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sharpened = list(pyramid)
        for level, module in self.modules_by_level.items():
            sharpened[int(level) - 1] = module(sharpened[int(level) - 1])
        return self.base.decode(tuple(sharpened))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.base.classify(embedding)
