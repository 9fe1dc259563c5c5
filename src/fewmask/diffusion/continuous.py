"""Gaussian diffusion in continuous time, and the sampler of DDP (Ji et al., ICCV 2023, arXiv:2303.17559).

Variance preserving: z_t = alpha z0 + sigma eps, alpha^2 = sigmoid(log SNR), sigma^2 = 1 - alpha^2, t in [0, 1].  The
denoiser is told the logarithm of the signal-to-noise ratio, not t, and returns z0-hat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "linear"]
LATEST = 0.999
"""Training draws t below it."""
FLOOR = 1e-5
"""Least tan^2 of the cosine schedule's angle, as upstream: it matters for t < 0.002 alone."""

FindClean = Callable[[Tensor, Tensor], Tensor]
"""(z_t (B, *Z), log SNR (B,)) -> z0-hat (B, *Z)."""


def angle(t: Tensor) -> Tensor:
    """a(t) = pi/2 (t + 0.0002) / 1.00025, in (0, pi/2): the tangent is finite at both ends."""
    return math.pi / 2 * (t + 0.0002) / 1.00025


def log_snr(t: Tensor, schedule: Schedule = "cosine") -> Tensor:
    """cosine: -2 ln tan a(t), from 11.5 at t = 0 to -18.9 at t = 1.  linear: -ln(exp(1e-4 + 10 t^2) - 1)."""
    if schedule == "linear":
        return -torch.expm1(1e-4 + 10 * t.square()).log()
    return -angle(t).tan().square().clamp(min=FLOOR).log()


def add_noise(z0: Tensor, snr: Tensor, noise: Tensor) -> Tensor:
    """z0, noise (B, *Z); log SNR (B,) -> z_t (B, *Z) float32."""
    signal, spread = _scales(snr, z0)
    return signal * z0.float() + spread * noise


def sampling_pairs(count: int) -> tuple[tuple[float, float], ...]:
    """(t now, t next) of each step: (1, 1/3), (2/3, 0), (1/3, 0) for 3.

    The next time runs a step ahead of the one that follows, on purpose (Chen et al., Bit Diffusion, ICLR 2023).
    """
    return tuple((1 - step / count, max(1 - (step + 2) / count, 0.0)) for step in range(count))


def sample(find_clean: FindClean, noise: Tensor, count: int, schedule: Schedule = "cosine") -> Tensor:
    """The last z0-hat (B, *Z) after `count` deterministic steps from noise at t = 1 (DDIM, eta = 0)."""
    z = z0 = noise
    for now, later in sampling_pairs(count):
        snr, after = (log_snr(torch.full((len(z),), time, device=z.device), schedule) for time in (now, later))
        z0 = find_clean(z, snr).float()
        signal, spread = _scales(snr, z)
        z = add_noise(z0, after, (z - signal * z0) / spread.clamp(min=1e-8))
    return z0


def _scales(snr: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma (B, 1, ...) to multiply `like` (B, *Z) with."""
    shape = (-1, *[1] * (like.ndim - 1))
    return snr.sigmoid().sqrt().view(shape), (-snr).sigmoid().sqrt().view(shape)
