"""DDIM (Song et al., ICLR 2021, arXiv:2010.02502) over any denoiser; a pure function of the noise it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fewmask.diffusion.gaussian import GaussianDiffusion

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, *Z), t (B,) int64) -> x0-hat (B, *Z)."""


def sampling_times(steps: int, count: int, start: int | None = None) -> tuple[int, ...]:
    """`count` times from `start` (None: the last, T - 1) down to 0, evenly spaced: {9, 0} of 10 for 2.

    One time alone is `start`.  The spacing is that of guided-diffusion's SpacedDiffusion.
    """
    last = steps - 1 if start is None else start
    if count == 1:
        return (last,)
    return tuple(dict.fromkeys(round(last * place / (count - 1)) for place in reversed(range(count))))


def ddim(
    denoise: Denoise,
    diffusion: GaussianDiffusion,
    x: Tensor,
    times: Sequence[int],
    *,
    clamp: tuple[float, float] | None = None,
) -> Tensor:
    """x0-hat (B, *Z) after the deterministic path (eta = 0) from x at times[0] through the falling `times`.

    clamp: range that every x0-hat is cut to.
    """
    for place, time in enumerate(times):
        t = torch.full((len(x),), time, dtype=torch.int64, device=x.device)
        x0 = denoise(x, t)
        if clamp is not None:
            x0 = x0.clamp(*clamp)
        if place + 1 < len(times):
            x = diffusion.add_noise(x0, torch.full_like(t, times[place + 1]), diffusion.noise_in(x, t, x0))
    return x0
