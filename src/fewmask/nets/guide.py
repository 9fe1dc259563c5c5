"""What guides the calibration of a label besides the label itself: features of the segmentation network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, LINEAR_MODE
from fewmask.nets.segmenter import Segmenter


def pooled(x: Tensor, halvings: int) -> Tensor:
    """Mean over cells of 2^halvings voxels a side; a cell at the border counts what it holds.

    x (B, M, *S) -> (B, M, *S / 2^halvings), sides rounded up, as the latent's are.
    """
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    cell = 2**halvings
    return pool(x, cell, ceil_mode=True, count_include_pad=False)


def features_of(segmenter: nn.Module, image: Tensor, halvings: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits (B, K, *S) and, of the same pass, the encoder's and the decoder's feature at the latent's size and the
    coarsest feature."""
    pyramid = segmenter.encode(image)
    decoded = segmenter.decode(pyramid)
    taps = (pyramid[halvings], pyramid[-1], decoded[len(decoded) - 1 - halvings])
    return segmenter.classify(decoded[-1]), taps


def feature_channels(segmenter: Segmenter, halvings: int) -> tuple[int, int, int]:
    """Channels of what `features_of` returns."""
    encoder, decoder = segmenter.encoder_channels, segmenter.decoder_channels
    return encoder[halvings], encoder[-1], decoder[len(decoder) - 1 - halvings]


class Guide(nn.Module):
    """Features, probabilities and their entropy -> a guide (B, G, *Z) and logits (B, 1, *Z) of where the label is
    wrong."""

    def __init__(self, *, features: Sequence[int], classes: int, dims: int, width: int) -> None:
        """features: channels of the three features; width: channels that each is reduced to; G = 2 * width."""
        super().__init__()
        self.spec: dict[str, Any] = {"features": list(features), "classes": classes, "dims": dims, "width": width}
        conv = CONVOLUTION[dims]
        self.reduce = nn.ModuleList(conv(channels, width, 1) for channels in features)
        self.merge = conv(3 * width + classes + 1, 2 * width, 3, padding=1)
        self.error = conv(2 * width, 1, 1)

    def forward(self, features: Sequence[Tensor], p: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor]:
        """features as `features_of` returns them; p (B, K, *Z) and entropy (B, 1, *Z) pooled to the latent's size."""
        size = p.shape[2:]
        reduced = [
            F.interpolate(layer(feature), size=size, mode=LINEAR_MODE[p.ndim - 2], align_corners=False)
            for layer, feature in zip(self.reduce, features, strict=True)
        ]
        guide = F.silu(self.merge(torch.cat([*reduced, p, entropy], 1)))
        return guide, self.error(guide)
