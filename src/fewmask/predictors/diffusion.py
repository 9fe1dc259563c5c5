"""A diffusion network that samples the label map of an image, alone or averaged with a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from fewmask.diffusion.labels import LabelDiffusion
from fewmask.nets import build_from_spec
from fewmask.nets.diffusion_segmenter import DiffusionSegmenter
from fewmask.predictors.base import Predictor
from fewmask.predictors.rectified import noise_of


class DiffusionPredictor(Predictor):
    """Probabilities after `samples` DDIM steps from noise; with `beside`, their mean with that network's."""

    def __init__(
        self,
        denoiser: nn.Module,
        times: int,
        samples: int,
        beside: nn.Module | None = None,
        *,
        scale: float = 1.0,
        diffuse: bool = True,
    ) -> None:
        """times, scale, diffuse: as of the LabelDiffusion that the denoiser was trained with."""
        super().__init__()
        self.denoiser, self.beside, self.samples = denoiser, beside, samples
        self.labels = LabelDiffusion(denoiser.spec["classes"], times, scale, diffuse=diffuse)
        self.stochastic = diffuse

    @property
    def width(self) -> int:
        return self.denoiser.spec["width"] + (0 if self.beside is None else self.beside.encoder_channels[0])

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "predictor": "diffusion",
            "denoiser": self.denoiser.spec,
            "times": self.labels.diffusion.steps,
            "samples": self.samples,
            "scale": self.labels.scale,
            "diffuse": self.labels.diffuse,
            "beside": None if self.beside is None else self.beside.spec,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        beside = None if spec["beside"] is None else build_from_spec(spec["beside"])
        labels = {name: spec[name] for name in ("scale", "diffuse")}
        return cls(DiffusionSegmenter(**spec["denoiser"]), spec["times"], spec["samples"], beside, **labels)

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        noise = noise_of(seed, (self.labels.classes, *image.shape[2:]), image.device)
        sampled = self.labels.sample(self.denoiser, image, noise, self.samples)
        return sampled if self.beside is None else (sampled + self.beside(image).float().softmax(1)) / 2
