"""Autoencoder of label maps: the latent space in which Caudo-Diff's labels are calibrated (reconstruction, 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, pad_to_even

FEWEST = 4
"""Channels in a group of a norm, at least: normalised alone, a channel loses how much of a map a class fills."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Up to 8 groups of at least FEWEST channels, or one of all."""
    fitting = (count for count in range(1, 9) if channels % count == 0 and channels >= FEWEST * count)
    return nn.GroupNorm(max(fitting, default=1), channels)


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3-convolution, twice, added to what came in."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *[
                layer
                for _ in range(2)
                for layer in (
                    group_norm(channels),
                    nn.SiLU(),
                    CONVOLUTION[dims](channels, channels, 3, padding=1),
                )
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class LabelAutoencoder(nn.Module):
    """Probabilities (B, K, *S) <-> latents (B, Z, *S / 2^halvings); odd sides round up.

    Nothing bypasses the latent.  `latent` gives standardised latents, by statistics that `standardise` was told.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, classes: int, dims: int, width: int, halvings: int, channels: int) -> None:
        """width: channels of the finest level, doubled from the second halving on; channels: Z."""
        super().__init__()
        self.spec: dict[str, Any] = {
            "classes": classes,
            "dims": dims,
            "width": width,
            "halvings": halvings,
            "channels": channels,
        }
        widths = [width * 2**level for level in range(halvings)]
        conv = CONVOLUTION[dims]
        self.stem = conv(classes, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(conv(before, after, 3, stride=2, padding=1), ResidualBlock(dims, after))
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.moments = conv(widths[-1], 2 * channels, 1)
        self.entrance = conv(channels, widths[-1], 3, padding=1)
        self.up = nn.ModuleList(
            nn.Sequential(ResidualBlock(dims, before), conv(before, after, 3, padding=1))
            for before, after in zip(widths[::-1], [*widths[-2::-1], width], strict=True)
        )
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), conv(width, classes, 3, padding=1))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def encode(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities in [0, 1] -> mean and log variance of the latent, as it is."""
        x = self.stem(2 * p - 1)
        for level in self.down:
            x = level(pad_to_even(x))
        mean, log_variance = self.moments(x).chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: Tensor, size: Sequence[int]) -> Tensor:
        """A latent as it is -> logits (B, K, *size)."""
        sizes = [tuple(size)]
        while len(sizes) < len(self.up):
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        x = self.entrance(latent)
        for level, finer in zip(self.up, reversed(sizes), strict=True):
            block, conv = level
            x = conv(F.interpolate(block(x), size=finer, mode="nearest"))
        return self.head(x)

    def latent(self, p: Tensor) -> Tensor:
        """Standardised latent (B, Z, *) of probabilities."""
        mean, deviation = self._statistics(p.ndim)
        return (self.encode(p)[0] - mean) / deviation

    def logits(self, latent: Tensor, size: Sequence[int]) -> Tensor:
        """Logits (B, K, *size) of a standardised latent."""
        mean, deviation = self._statistics(latent.ndim)
        return self.decode(latent * deviation + mean, size)

    def standardise(self, total: Tensor, squares: Tensor, count: Tensor) -> None:
        """Let latents have mean 0 and deviation 1 per channel; sums (Z,) over `count` cells of `encode`'s mean."""
        self.mean.copy_(total / count)
        self.deviation.copy_((squares / count - self.mean.double().square()).clamp_min(1e-8).sqrt())

    def _statistics(self, ndim: int) -> tuple[Tensor, Tensor]:
        shape = (1, -1, *[1] * (ndim - 2))
        return self.mean.view(shape), self.deviation.view(shape)


def latent_size(size: Sequence[int], halvings: int) -> tuple[int, ...]:
    """*S -> the latent's sides, rounded up at each halving."""
    return tuple(-(-side // 2**halvings) for side in size)
