"""Blocks that a number per sample (a diffusion time, a calibration guidance) modulates, in two and three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, enlarge, norm
from fewmask.nets.dropout import Dropout


class NumberEmbedding(nn.Module):
    """A number per sample -> a vector: sines and cosines, then two layers (Ho et al. 2020, appendix B).

    t (B,) float or int -> (B, 4 * frequencies).
    """

    def __init__(self, frequencies: int) -> None:
        """frequencies: length of the sinusoidal code, half of it sines, half cosines."""
        super().__init__()
        self.channels = 4 * frequencies
        rates = torch.exp(-math.log(10_000) * torch.arange(frequencies // 2) / (frequencies // 2 - 1))
        self.register_buffer("rates", rates, persistent=False)
        self.first = nn.Linear(frequencies, self.channels)
        self.second = nn.Linear(self.channels, self.channels)

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.rates
        return self.second(F.silu(self.first(torch.cat([angles.sin(), angles.cos()], dim=1))))


class TimedBlock(nn.Module):
    """3-convolution, norm, LeakyReLU; the embedded number is added per channel; dropout; the same three again.

    x (B, channels_in, *S), embedded (B, E) -> (B, channels_out, *S).
    """

    def __init__(
        self,
        dims: int,
        channels_in: int,
        channels_out: int,
        embedding: int,
        dropout: float = 0.0,
        normalisation: str = "batch",
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(
            CONVOLUTION[dims](channels_in, channels_out, 3, padding=1),
            norm(normalisation, dims, channels_out),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.shift = nn.Linear(embedding, channels_out)
        self.second = nn.Sequential(
            Dropout(dropout) if dropout else nn.Identity(),
            CONVOLUTION[dims](channels_out, channels_out, 3, padding=1),
            norm(normalisation, dims, channels_out),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        shift = self.shift(F.silu(embedded))
        return self.second(self.first(x) + shift.view(*shift.shape, *[1] * (x.ndim - 2)))


class TimedUp(nn.Module):
    """1-convolution to the skip's channels, linear enlargement to its size, concatenation, a timed block."""

    def __init__(
        self, dims: int, channels: int, skip_channels: int, embedding: int, normalisation: str = "batch"
    ) -> None:
        super().__init__()
        self.reduce = CONVOLUTION[dims](channels, skip_channels, 1)
        self.merge = TimedBlock(dims, 2 * skip_channels, skip_channels, embedding, normalisation=normalisation)

    def forward(self, x: Tensor, skip: Tensor, embedded: Tensor) -> Tensor:
        return self.merge(torch.cat([skip, enlarge(self.reduce(x), skip.shape[2:])], dim=1), embedded)
