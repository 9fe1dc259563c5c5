"""Denoiser of label latents: a U-Net with attention, modulated by time and guide (Caudo-Diff's reconstruction, 2.7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, halve_by_pooling
from fewmask.nets.label_autoencoder import group_norm
from fewmask.nets.timed import NumberEmbedding

LEVELS = (1, 2, 3)
"""Width of each level, as a multiple of the first one's."""
ATTENDED = 256
"""Most cells of a level with self-attention: the reconstruction's levels of 16x16 and 8x8."""
BLOCKS = 2
HEAD = 32
"""Channels of an attention head, at least."""


class LatentUNet(nn.Module):
    """x, z (B, Z, *S'), t (B,), g (B, G, *S') -> the clean latent (B, Z, *S'), zero before training.

    x: the state; z: the latent of the label that is calibrated; g: the guide.
    """

    def __init__(self, *, channels: int, size: Sequence[int], guide: int, width: int, dropout: float) -> None:
        """channels: Z; size: sides *S', which decide where cells attend to each other; guide: G; width: of the finest
        level."""
        super().__init__()
        self.spec: dict[str, Any] = {
            "channels": channels,
            "size": list(size),
            "guide": guide,
            "width": width,
            "dropout": dropout,
        }
        dims = len(size)
        conv, widths = CONVOLUTION[dims], [width * level for level in LEVELS]
        attends = [math.prod(-(-side // 2**level) for side in size) <= ATTENDED for level in range(len(widths))]
        self.embed = NumberEmbedding(max(8, 2 * width))
        embedding = self.embed.channels
        self.summary = nn.Linear(guide, embedding)
        self.entrance = conv(2 * channels + guide, width, 3, padding=1)
        self.pool = halve_by_pooling(dims)

        def level(before: int, after: int, attends: bool) -> nn.ModuleList:
            layers: list[nn.Module] = []
            for block in range(BLOCKS):
                layers.append(ModulatedBlock(dims, after if block else before, after, embedding, dropout))
                if attends:
                    layers.append(Attention(dims, after))
            return nn.ModuleList(layers)

        count = len(widths)
        self.down = nn.ModuleList(level(widths[max(i - 1, 0)], widths[i], attends[i]) for i in range(count))
        self.up = nn.ModuleList(
            level(widths[i + 1] + widths[i], widths[i], attends[i]) for i in reversed(range(count - 1))
        )
        self.out = nn.Sequential(group_norm(width), nn.SiLU(), conv(width, channels, 3, padding=1))
        nn.init.zeros_(self.out[-1].weight)
        nn.init.zeros_(self.out[-1].bias)

    def forward(self, x: Tensor, t: Tensor, z: Tensor, g: Tensor) -> Tensor:
        context = F.silu(self.embed(t) + self.summary(g.flatten(2).mean(2)))
        h = self.entrance(torch.cat([x, z, g], 1))
        skips = []
        for number, layers in enumerate(self.down):
            h = self.pool(h) if number else h
            for layer in layers:
                h = layer(h, context)
            skips.append(h)
        skips.pop()
        for layers in self.up:
            skip = skips.pop()
            h = torch.cat([F.interpolate(h, size=skip.shape[2:], mode="nearest"), skip], 1)
            for layer in layers:
                h = layer(h, context)
        return self.out(h)


class ModulatedBlock(nn.Module):
    """Norm, SiLU, 3-convolution; norm, scale and shift by the context (FiLM), SiLU, dropout, 3-convolution; added."""

    def __init__(self, dims: int, before: int, after: int, embedding: int, dropout: float) -> None:
        super().__init__()
        conv = CONVOLUTION[dims]
        self.first = nn.Sequential(group_norm(before), nn.SiLU(), conv(before, after, 3, padding=1))
        self.modulate = nn.Linear(embedding, 2 * after)
        self.norm = group_norm(after)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), conv(after, after, 3, padding=1))
        self.skip = conv(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.modulate(context).view(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, 1)
        return self.skip(x) + self.second(self.norm(self.first(x)) * (1 + scale) + shift)


class Attention(nn.Module):
    """Each cell attends to all cells; added to what came in."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.heads = max((n for n in (1, 2, 4, 8) if channels % n == 0 and channels // n >= HEAD), default=1)
        self.norm = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        cells = self.norm(x).flatten(2).transpose(1, 2)  # (B, cells, C)
        split = self.project(cells).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*split.unbind(0)).transpose(1, 2).flatten(2)
        return x + self.out(attended).transpose(1, 2).reshape(x.shape)
