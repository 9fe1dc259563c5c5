"""Denoiser of label latents that keeps their grid: large-kernel convolution blocks told the noise level.

Stands in for the deformable transformer of DDP (Ji et al., ICCV 2023), whose operator is not portable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION

KERNEL = 7
FREQUENCIES = 8


class NoiseLevel(nn.Module):
    """log SNR (B,) -> (B, E): sines and cosines at learned frequencies and the number itself, then two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.randn(FREQUENCIES))
        self.first = nn.Linear(2 * FREQUENCIES + 1, channels)
        self.second = nn.Linear(channels, channels)

    def forward(self, snr: Tensor) -> Tensor:
        angles = snr.float()[:, None] * self.rates * 2 * torch.pi
        code = torch.cat([snr.float()[:, None], angles.sin(), angles.cos()], dim=1)
        return self.second(F.gelu(self.first(code)))


class _Block(nn.Module):
    """Depth-wise convolution, layer norm, two pointwise layers, a skip; then scaled and shifted by the noise level."""

    def __init__(self, dims: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.spatial = CONVOLUTION[dims](channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.modulate = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        y = self.norm(self.spatial(x).movedim(1, -1))
        x = x + self.narrow(F.gelu(self.widen(y))).movedim(-1, 1)
        scale, shift = self.modulate(F.silu(embedded)).view(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        return x * (1 + scale) + shift


class MapDenoiser(nn.Module):
    """features f, noised latent z (B, d, *S), log SNR (B,) -> map r (B, d, *S)."""

    def __init__(self, dims: int, channels: int, layers: int) -> None:
        super().__init__()
        self.level = NoiseLevel(4 * channels)
        self.fuse = CONVOLUTION[dims](2 * channels, channels, 1)
        self.blocks = nn.ModuleList(_Block(dims, channels, 4 * channels) for _ in range(layers))

    def forward(self, f: Tensor, z: Tensor, snr: Tensor) -> Tensor:
        embedded = self.level(snr)
        r = self.fuse(torch.cat([f, z.to(f.dtype)], dim=1))
        for block in self.blocks:
            r = block(r, embedded)
        return r
