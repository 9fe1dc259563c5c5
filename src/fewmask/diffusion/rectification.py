"""Rectification of label maps by latent diffusion (DiffRect, Liu et al. 2024, section 3.3), training and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fewmask.diffusion.gaussian import GaussianDiffusion, cosine_betas
from fewmask.diffusion.sampler import ddim, sampling_times
from fewmask.nets.denoiser import Entrance
from fewmask.nets.labelspace import class_colours, coloured
from fewmask.nets.rectifier import Rectifier, Skips

Bottleneck = Literal["denoised", "zero", "noise", "condition"]
"""What the decoder gets: the sampled latent or, as a control, zeros, noise, the latent of the input label."""


class LabelRectification(nn.Module):
    """label map + image -> logits of a better label map, by way of a denoised latent.

    image (B, C, *S); label (B, *S) int64; guidance (B,): how far the label is from the better one, by which every block
    is modulated; noise: of the shape that `latent_shape` tells.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int,
        width: int,
        times: int,
        samples: int,
        start: float,
        diffuse: bool,
        clamp: bool,
        skips: Skips,
        entrance: Entrance,
        standardise: bool,
        colours: bool,
        normalisation: str = "batch",
        dropout: float = 1.0,
    ) -> None:
        """times: T; samples: how many of them DDIM visits; start: share of T at which sampling begins from the noised
        latent of the input label, 1: from noise alone; diffuse: False makes the denoiser a plain network that maps the
        input label's latent to the better one's, the control of equal size; clamp: cut sampled latents to [-1, 1];
        colours: labels as RGB, else one channel a class; dropout: factor on the rectifier's own rates."""
        super().__init__()
        self.spec: dict[str, Any] = {
            "channels": channels,
            "classes": classes,
            "dims": dims,
            "width": width,
            "times": times,
            "samples": samples,
            "start": start,
            "diffuse": diffuse,
            "clamp": clamp,
            "skips": skips,
            "entrance": entrance,
            "standardise": standardise,
            "colours": colours,
            "normalisation": normalisation,
            "dropout": dropout,
        }
        table = class_colours(classes) if colours else torch.eye(classes)
        self.register_buffer("table", table, persistent=False)
        self.rectifier = Rectifier(
            channels=channels,
            label_channels=table.shape[1],
            classes=classes,
            dims=dims,
            width=width,
            skips=skips,
            entrance=entrance,
            standardise=standardise,
            normalisation=normalisation,
            dropout=dropout,
        )
        self.diffusion = GaussianDiffusion(cosine_betas(times))
        self.start, self.diffuse = start, diffuse
        self.clamp = (-1.0, 1.0) if clamp else None
        first = times - 1 if start == 1 else round(start * (times - 1))
        self.times = sampling_times(times, samples, first)
        self.latent_channels = 16 * width

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(B, *S) of label maps -> (B, Z, *S / 16) of their latents; odd sizes round up at each of four halvings."""
        rows, *space = shape
        for _ in range(4):
            space = [-(-side // 2) for side in space]
        return (rows, self.latent_channels, *space)

    def transport(
        self, image: Tensor, label: Tensor, better: Tensor, guidance: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, K, *S) of the better label, from its noised latent, and the latent's squared error per row (B,).

        The better label's latent is a target: no gradient passes to it.
        """
        rectifier = self.rectifier
        context = rectifier.context(image, guidance)
        features = rectifier.encode(image, coloured(label, self.table), context)
        with torch.no_grad():
            x0 = rectifier.encode(image, coloured(better, self.table), context)[-1]
        if self.diffuse:
            t = torch.randint(self.diffusion.steps, (len(x0),), device=x0.device, generator=generator)
            noise = torch.randn(x0.shape, device=x0.device, generator=generator)
            found = rectifier.denoiser(self.diffusion.add_noise(x0, t, noise), t, features[-1])
        else:
            found = self._plain(features[-1])
        error = (found.float() - x0.float()).square().flatten(1).mean(1)
        return rectifier.decode(found, features, context), error

    def sample(
        self, image: Tensor, label: Tensor, guidance: Tensor, noise: Tensor, bottleneck: Bottleneck = "denoised"
    ) -> Tensor:
        """Logits (B, K, *S) of the rectified label; the same noise gives the same label."""
        rectifier = self.rectifier
        context = rectifier.context(image, guidance)
        features = rectifier.encode(image, coloured(label, self.table), context)
        condition = features[-1]
        if bottleneck == "zero":
            latent = torch.zeros_like(condition)
        elif bottleneck == "noise":
            latent = noise.to(condition.dtype)
        elif bottleneck == "condition":
            latent = condition
        elif self.diffuse:
            latent = self._denoised(condition, noise)
        else:
            latent = self._plain(condition)
        return rectifier.decode(latent, features, context)

    def _denoised(self, condition: Tensor, noise: Tensor) -> Tensor:
        x = noise
        if self.start < 1:
            first = torch.full((len(noise),), self.times[0], dtype=torch.int64, device=noise.device)
            x = self.diffusion.add_noise(condition.float(), first, noise)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.rectifier.denoiser(x, t, condition).float()

        return ddim(denoise, self.diffusion, x, self.times, clamp=self.clamp)

    def _plain(self, condition: Tensor) -> Tensor:
        return self.rectifier.denoiser(condition, torch.zeros(len(condition), device=condition.device), condition)
