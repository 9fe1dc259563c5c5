"""Segmentation network that denoises a label map, given the image: a V-Net that knows the diffusion time.

The denoising network of A&D (Wang & Li, NeurIPS 2023, GenericSSL), as Diff-CL's diffusion network is inferred to be.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CHANNEL_DROPOUT, CONVOLUTION, TRANSPOSED, crop, norm, pad_to_even
from fewmask.nets.timed import NumberEmbedding
from fewmask.nets.vnet import DECODER_STAGES, ENCODER_STAGES

FREQUENCIES = 128
WITHIN, AT_ENDS = 0.1, 0.5
"""Dropout of whole channels: after every convolution; after the coarsest level and before the last convolution."""


class _Stage(nn.Module):
    """Layer, ReLU, norm, dropout, and the embedded time added per channel."""

    def __init__(
        self, layer: nn.Module, dims: int, channels: int, normalisation: str, embedding: int | None, dropout: float
    ):
        super().__init__()
        self.layer = layer
        self.norm = norm(normalisation, dims, channels)
        self.dropout = CHANNEL_DROPOUT[dims](dropout)
        self.shift = None if embedding is None else nn.Linear(embedding, channels)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        x = self.dropout(self.norm(F.relu(self.layer(x))))
        if self.shift is None:
            return x
        # else one step of Adam moves the sum of so many weights by a tenth of what it is added to
        shift = self.shift(F.silu(embedded)) / math.sqrt(embedded.shape[1])
        return x + shift.view(*shift.shape, *[1] * (x.ndim - 2))


class _Stages(nn.ModuleList):
    """Convolution stages one after the other; the last one is told no time."""

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        for stage in self:
            x = stage(x, embedded)
        return x


class DiffusionSegmenter(nn.Module):
    """noisy label (B, K, *S), t (B,), image (B, C, *S) -> logits of the clean label (B, K, *S); any *S.

    10.8 M parameters at width 16 with 1 channel and 2 classes in 3-D; the published 11.2 M count layers that it never
    uses, which tell the time to the last stage of each block.
    """

    def __init__(
        self, *, channels: int, classes: int, dims: int, width: int, normalisation: str, dropout: float
    ) -> None:
        """dropout: factor on the network's own rates."""
        super().__init__()
        self.spec = {
            "channels": channels,
            "classes": classes,
            "dims": dims,
            "width": width,
            "normalisation": normalisation,
            "dropout": dropout,
        }
        self.embed = NumberEmbedding(FREQUENCIES)
        embedding = self.embed.channels
        stage = partial(_Stage, dims=dims, normalisation=normalisation)
        widths = [width * 2**level for level in range(5)]

        def stages(count: int, channels_in: int, features: int) -> _Stages:
            return _Stages(
                stage(
                    CONVOLUTION[dims](channels_in if place == 0 else features, features, 3, padding=1),
                    channels=features,
                    embedding=embedding if place + 1 < count else None,
                    dropout=dropout * WITHIN,
                )
                for place in range(count)
            )

        def resizing(layer: nn.Module, features: int) -> _Stage:
            return stage(layer, channels=features, embedding=embedding, dropout=0.0)

        self.encoder = nn.ModuleList(
            stages(count, features if level else channels + classes, features)
            for level, (count, features) in enumerate(zip(ENCODER_STAGES, widths, strict=True))
        )
        self.down = nn.ModuleList(
            resizing(CONVOLUTION[dims](features, 2 * features, 2, stride=2), 2 * features) for features in widths[:-1]
        )
        self.up = nn.ModuleList(
            resizing(TRANSPOSED[dims](2 * features, features, 2, stride=2), features) for features in widths[-2::-1]
        )
        self.decoder = nn.ModuleList(
            stages(count, features, features) for count, features in zip(DECODER_STAGES, widths[-2::-1], strict=True)
        )
        self.dropout = CHANNEL_DROPOUT[dims](dropout * AT_ENDS)
        self.head = CONVOLUTION[dims](width, classes, 1)

    def forward(self, label: Tensor, t: Tensor, image: Tensor) -> Tensor:
        embedded = self.embed(t)
        x = self.encoder[0](torch.cat([image, label], dim=1), embedded)
        skips = []
        for down, level in zip(self.down, self.encoder[1:], strict=True):
            skips.append(x)
            x = level(down(pad_to_even(x), embedded), embedded)
        x = self.dropout(x)
        for up, level, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = level(crop(up(x, embedded), skip.shape[2:]) + skip, embedded)
        return self.head(self.dropout(x))
