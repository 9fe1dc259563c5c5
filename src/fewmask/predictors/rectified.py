"""A segmentation network whose label is rectified before it counts; in an audit also with a control in the latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn

from fewmask.diffusion.rectification import Bottleneck, LabelRectification
from fewmask.nets import build_from_spec
from fewmask.predictors.base import Predictor


class RectifiedPredictor(Predictor):
    """The segmenter's probabilities mixed with those of the rectification of its winning class at each voxel."""

    stochastic = True

    def __init__(
        self,
        segmenter: nn.Module,
        rectification: nn.Module,
        guidance: Tensor,
        share: float = 1.0,
        bottleneck: Bottleneck = "denoised",
    ) -> None:
        """guidance: scalar, the same for every image; share: of the rectification in the mean, 1: it alone; bottleneck:
        what the decoder gets, see LabelRectification."""
        super().__init__()
        self.segmenter, self.rectification, self.share = segmenter, rectification, share
        self.register_buffer("guidance", guidance)
        self.bottleneck = get_args(Bottleneck)[get_args(Bottleneck).index(bottleneck)]

    @property
    def width(self) -> int:
        return self.segmenter.encoder_channels[0] + self.rectification.spec["width"]

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "predictor": "rectified",
            "segmenter": self.segmenter.spec,
            "rectification": self.rectification.spec,
            "share": self.share,
            "bottleneck": self.bottleneck,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        segmenter, rectification = build_from_spec(spec["segmenter"]), LabelRectification(**spec["rectification"])
        share = spec.get("share", 1.0)  # absent from models of before there was one
        return cls(segmenter, rectification, torch.zeros(()), share, spec["bottleneck"])

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        raw = self.segmenter(image).float().softmax(1)
        label = raw.argmax(1)
        noise = noise_of(seed, self.rectification.latent_shape(label.shape)[1:], image.device)
        guidance = self.guidance.expand(len(image))
        rectified = self.rectification.sample(image, label, guidance, noise, self.bottleneck).float().softmax(1)
        return raw.lerp(rectified, self.share)


def noise_of(seed: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
    """Standard normal noise (B, *shape): row b from seed[b] alone, the same on every device."""
    rows = [torch.randn(*shape, generator=torch.Generator().manual_seed(int(one))) for one in seed.tolist()]
    return torch.stack(rows).to(device)
