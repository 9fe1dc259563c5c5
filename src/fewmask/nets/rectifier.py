"""Rectifier of label maps: encoders of image and label, a latent in between, a decoder (DiffRect, Liu et al. 2024).

Section 3.2, label context calibration, and 3.3, latent feature rectification; the latent is denoised elsewhere.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from fewmask.nets.blocks import CONVOLUTION, halve_by_pooling
from fewmask.nets.denoiser import Entrance, LatentDenoiser
from fewmask.nets.timed import NumberEmbedding, TimedBlock, TimedUp
from fewmask.nets.unet import DROPOUT

Skips = Literal["image", "label"]
"""What the decoder sees beside the latent: features of the image alone, so that what it knows of the label must have
passed the latent, or those of image and label together (as released)."""


class Context(NamedTuple):
    """What stays the same while labels of one image are encoded and decoded."""

    image: tuple[Tensor, ...]
    """Features of the image, fine to coarse."""
    embedded: Tensor
    """The guidance as a vector (B, E)."""


class Rectifier(nn.Module):
    """17,468,212 parameters at width 16 with 1 channel, 4 classes and 3 colours in 2-D, as released.

    image (B, C, *S); label (B, L, *S): a label map as colours; guidance (B,): how far it is from the better label.
    """

    def __init__(
        self,
        *,
        channels: int,
        label_channels: int,
        classes: int,
        dims: int,
        width: int,
        skips: Skips,
        entrance: Entrance,
        standardise: bool,
        normalisation: str = "batch",
        dropout: float = 1.0,
    ) -> None:
        """standardise: latents are brought to mean 0 and variance 1 per channel by running statistics, and the denoiser
        ends in a linear layer; dropout: factor on the network's own rates."""
        super().__init__()
        self.skips = skips
        widths = tuple(width * 2**level for level in range(5))
        self.embed = NumberEmbedding(8 * width)
        embedding = self.embed.channels

        def encoder(channels_in: int) -> nn.ModuleList:
            return nn.ModuleList(
                TimedBlock(dims, before, after, embedding, dropout * rate, normalisation)
                for before, after, rate in zip((channels_in, *widths), widths, DROPOUT, strict=False)
            )

        self.pool = halve_by_pooling(dims)
        self.label_encoder = encoder(channels + label_channels)
        self.image_encoder = encoder(channels)
        self.decoder = nn.ModuleList(TimedUp(dims, 2 * skip, skip, embedding, normalisation) for skip in widths[-2::-1])
        self.head = CONVOLUTION[dims](width, classes, 3, padding=1)
        self.standard = _Standard(widths[-1]) if standardise else None
        self.denoiser = LatentDenoiser(
            dims=dims,
            channels=widths[-1],
            frequencies=8 * width,
            entrance=entrance,
            linear_output=standardise,
            normalisation=normalisation,
        )

    def context(self, image: Tensor, guidance: Tensor) -> Context:
        """Features of the image, under the guidance."""
        embedded = self.embed(guidance)
        features, x = [], image
        for level, block in enumerate(self.image_encoder):
            x = block(self.pool(x) if level else x, embedded)
            features.append(x)
        return Context(tuple(features), embedded)

    def encode(self, image: Tensor, label: Tensor, context: Context) -> tuple[Tensor, ...]:
        """Features of image and label, fine to coarse; the last one is the latent (B, 16 * width, *S / 16)."""
        features, x = [], torch.cat([image, label], dim=1)
        for level, (block, beside) in enumerate(zip(self.label_encoder, context.image, strict=True)):
            x = block(self.pool(x) if level else x, context.embedded) + beside
            features.append(x)
        if self.standard is not None:
            features[-1] = self.standard(features[-1])
        return tuple(features)

    def decode(self, latent: Tensor, features: tuple[Tensor, ...], context: Context) -> Tensor:
        """Logits (B, K, *S) of the label that the latent stands for; features: of the label it was rectified from."""
        x = latent
        for up, skip in zip(
            self.decoder, reversed((context.image if self.skips == "image" else features)[:-1]), strict=True
        ):
            x = up(x, skip, context.embedded)
        return self.head(x)


class _Standard(nn.Module):
    """(x - mean) / deviation per channel, by statistics that lag behind: constants for the gradient.

    The same in training and evaluation, so that a latent means the same when it is sampled.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            axes = (0, *range(2, x.ndim))
            variance, mean = torch.var_mean(x.detach().float(), axes)
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - self.mean.view(shape)) / (self.variance.view(shape) + 1e-5).sqrt()
