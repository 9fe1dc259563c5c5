"""Gaussian diffusion in discrete time (Ho et al. 2020, arXiv:2006.11239; cosine: Nichol & Dhariwal 2021, section 3.2).

A denoiser of fewmask always returns x0-hat; this is the only file that converts between x0 and the noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def cosine_betas(steps: int) -> Tensor:
    """(T,) float64: beta_i = min(1 - abar((i + 1) / T) / abar(i / T), 0.999), abar(u) = cos^2(pi/2 (u + s) / (1 + s)).

    s = 0.008 (Nichol & Dhariwal 2021, equation 17).
    """

    def abar(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    return torch.tensor(
        [min(1 - abar((i + 1) / steps) / abar(i / steps), 0.999) for i in range(steps)], dtype=torch.float64
    )


def linear_betas(steps: int) -> Tensor:
    """(T,) float64, evenly from 1e-4 to 0.02 for T = 1000 (Ho et al. 2020, section 4); times 1000 / T for others."""
    return torch.linspace(1e-4, 0.02, steps, dtype=torch.float64).mul(1000 / steps).clamp(max=0.999)


class GaussianDiffusion(nn.Module):
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps for t = 0 .. T - 1, abar_t the product of 1 - beta up to t."""

    alpha_bars: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        alpha_bars = torch.cumprod(1 - betas.double(), 0)
        self.register_buffer("alpha_bars", alpha_bars.float())

    @property
    def steps(self) -> int:
        return len(self.alpha_bars)

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x0, noise (B, *Z); t (B,) int64 -> x_t (B, *Z)."""
        signal, spread = self._scales(t, x0)
        return signal * x0 + spread * noise

    def noise_in(self, x_t: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """The noise that makes x_t of x0: (x_t - sqrt(abar_t) x0) / sqrt(1 - abar_t)."""
        signal, spread = self._scales(t, x0)
        return (x_t - signal * x0) / spread

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        abar = self.alpha_bars[t].view(-1, *[1] * (like.ndim - 1))
        return abar.sqrt(), (1 - abar).sqrt()
