"""Denoiser of latents: a time-conditioned U-Net of two levels, (x_t, t, condition) -> x0-hat.

DiffRect (Liu et al., MICCAI 2024, arXiv:2407.09918), section 2.3: latent feature rectification.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, halve_by_pooling
from fewmask.nets.timed import NumberEmbedding, TimedBlock, TimedUp

Entrance = Literal["input", "last_skip"]
"""Where the condition enters: added to x_t before the first block, or to the skip of the last one alone (as in the
released code, whose inner blocks therefore never see it)."""


class LatentDenoiser(nn.Module):
    """x_t, condition (B, Z, *S'), t (B,) -> x0-hat (B, Z, *S').

    Levels of 1, 1.5 and 2 times Z channels.  linear_output: a last 1-convolution, so that x0-hat may have any sign;
    without it x0-hat leaves a LeakyReLU, as released.
    """

    def __init__(
        self,
        *,
        dims: int,
        channels: int,
        frequencies: int,
        entrance: Entrance,
        linear_output: bool,
        normalisation: str = "batch",
    ) -> None:
        super().__init__()
        self.entrance = entrance
        self.embed = NumberEmbedding(frequencies)
        wide, widest, embedding = channels * 3 // 2, channels * 2, self.embed.channels
        self.pool = halve_by_pooling(dims)
        block, up = (partial(kind, dims, normalisation=normalisation) for kind in (TimedBlock, TimedUp))
        self.down = nn.ModuleList([block(channels, wide, embedding), block(wide, widest, embedding)])
        self.up = nn.ModuleList([up(widest, wide, embedding), up(wide, channels, embedding)])
        self.out = CONVOLUTION[dims](channels, channels, 1) if linear_output else nn.Identity()

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        embedded = self.embed(t)
        conditioned = x + condition
        first = self.down[0](self.pool(conditioned if self.entrance == "input" else x), embedded)
        deepest = self.down[1](self.pool(first), embedded)
        return self.out(self.up[1](self.up[0](deepest, first, embedded), conditioned, embedded))
