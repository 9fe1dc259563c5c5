"""A noise-free path between two latents (iterative alpha-(de)blending, Heitz et al. 2023, arXiv:2305.03486).

tau = 0 is the clean latent z0, tau = 1 the latent z1 of the label that is calibrated.  Both are label latents, so the
path is linear: equal ends give a constant path.  Who knows z1 and the state finds z0 by algebra at any tau < 1, unless
training blurs the path by noise and asks often enough at tau = 1, where nothing of z0 is left.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def bridge_state(z0: Tensor, z1: Tensor, tau: Tensor, noise: Tensor | None = None, blur: float = 0.0) -> Tensor:
    """(1 - tau) z0 + tau z1 + blur sqrt(tau (1 - tau)) noise; z0, z1, noise (B, *Z), tau (B,) in [0, 1]."""
    tau = tau.view(-1, *[1] * (z0.ndim - 1))
    state = (1 - tau) * z0 + tau * z1
    return state if noise is None else state + blur * (tau * (1 - tau)).sqrt() * noise


def euler(predict: Callable[[Tensor, Tensor], Tensor], z1: Tensor, steps: int) -> Tensor:
    """From z1 to z0 in Euler steps along dz/dtau = z1 - h, h = predict(z, tau) ~ z0, tau falling from 1 by 1 / steps.

    The direction uses the known end z1; it is also cold diffusion's corrected update (Bansal et al. 2022).
    """
    z = z1
    for place in range(steps):
        tau = torch.full((len(z1),), 1 - place / steps, device=z1.device)
        z = z + (predict(z, tau) - z1) / steps
    return z
