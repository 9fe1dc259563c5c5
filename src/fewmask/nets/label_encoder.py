"""Segmentation by denoising the latent that a network makes of a label map (reading B of `proto_diff`, as DiffRect).

Liu et al., MICCAI 2024, arXiv:2407.09918, sections 3.2 and 3.3; here without an input label, from noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fewmask.diffusion.continuous import Schedule
from fewmask.nets.label_latent import Directions, LabelLatentNetwork, Said, Space, coarsened
from fewmask.nets.labelspace import class_colours, coloured
from fewmask.nets.rectifier import Context, Rectifier

UNKNOWN = 0.5
"""Grey, which no class has: the colour of voxels whose label is not valid."""
TIMES = 1000.0
"""The denoiser is told sigma^2 on this scale, as networks of discrete time are told their step."""
STRIDE = 16


class LabelEncoderNetwork(LabelLatentNetwork):
    """The latent of a label map is the bottleneck of an encoder of image and coloured label, at a 16th of the size.

    The denoised bottleneck takes the place of the encoder's, and a decoder with the image's skips makes the logits.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int,
        width: int,
        schedule: Schedule,
        space: Space,
        diffuse: bool,
        normalisation: str,
        dropout: float = 1.0,
    ) -> None:
        """channels: of the image; width: of the finest level, the latent has 16 times as many; dropout: factor on the
        network's own rates."""
        super().__init__()
        self.spec = {
            "latent": "encoder",
            "channels": channels,
            "classes": classes,
            "dims": dims,
            "width": width,
            "schedule": schedule,
            "space": space,
            "diffuse": diffuse,
            "normalisation": normalisation,
            "dropout": dropout,
        }
        self.width, self.latent_channels = 2 * width, STRIDE * width
        self.schedule, self.space, self.diffuse = schedule, space, diffuse
        table = torch.cat([class_colours(classes), torch.full((1, 3), UNKNOWN)])
        self.register_buffer("table", table, persistent=False)
        self.classes = classes
        self.rectifier = Rectifier(
            channels=channels,
            label_channels=table.shape[1],
            classes=classes,
            dims=dims,
            width=width,
            skips="image",
            entrance="input",
            standardise=True,
            normalisation=normalisation,
            dropout=dropout,
        )
        self.directions = Directions(dims, self.latent_channels, self.latent_channels)

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> LabelEncoderNetwork:
        return cls(**spec)

    def features(self, image: Tensor) -> tuple[Tensor, Context]:
        return image, self.rectifier.context(image, torch.zeros(len(image), device=image.device))

    def repeated(self, features: tuple[Tensor, Context], times: int) -> tuple[Tensor, Context]:
        image, context = features
        levels = tuple(level.repeat_interleave(times, dim=0) for level in context.image)
        embedded = context.embedded.repeat_interleave(times, dim=0)
        return image.repeat_interleave(times, dim=0), Context(levels, embedded)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.latent_channels, *coarsened(shape, STRIDE))

    def latent(self, label: Tensor, valid: Tensor, features: tuple[Tensor, Context]) -> Tensor:
        image, context = features
        colours = coloured(torch.where(valid, label, self.classes), self.table)
        return self.rectifier.encode(image, colours, context)[-1].float()

    def denoise(self, features: tuple[Tensor, Context], z: Tensor, snr: Tensor) -> Said:
        image_features = features[1].image
        deepest = image_features[-1]
        clean = self.rectifier.denoiser(z, TIMES * (-snr).sigmoid(), deepest)
        logits = self.rectifier.decode(clean, image_features, features[1])
        return Said(logits, self.directions(deepest if self.space == "feature" else clean), clean.float())

    def auxiliary(self, features: tuple[Tensor, Context]) -> Tensor:
        context = features[1]
        return self.rectifier.decode(context.image[-1], context.image, context)
