"""A network that denoises a latent of the label map; its classifier, its prototypes or its auxiliary head predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from torch import Tensor

from fewmask.nets.feature_pyramid import resized
from fewmask.nets.label_encoder import LabelEncoderNetwork
from fewmask.nets.label_latent import LabelLatentNetwork, TableNetwork
from fewmask.nets.prototypes import Prototypes
from fewmask.predictors.base import Predictor
from fewmask.predictors.rectified import noise_of

Source = Literal["classifier", "prototype", "mean", "aux"]
"""Whose probabilities: the classifier's, those of the nearest prototypes, the mean of both, the auxiliary head's."""
LATENTS: dict[str, type[TableNetwork] | type[LabelEncoderNetwork]] = {
    "table": TableNetwork,
    "encoder": LabelEncoderNetwork,
}


class LabelLatentPredictor(Predictor):
    """Probabilities after `steps` denoising steps from noise, averaged over `samples` of them for each image.

    The image is encoded once for all samples.  The auxiliary head draws nothing.
    """

    def __init__(
        self, network: LabelLatentNetwork, prototypes: Prototypes, *, steps: int, samples: int, source: Source
    ) -> None:
        super().__init__()
        self.network, self.prototypes = network, prototypes
        self.steps, self.samples, self.source = steps, samples, source
        self.stochastic = source != "aux" and network.diffuse

    @property
    def width(self) -> int:
        return self.network.width * self.samples

    @property
    def spec(self) -> dict[str, Any]:
        classes, per_class, channels = self.prototypes.vectors.shape
        return {
            "predictor": "label_latent",
            "network": self.network.spec,
            "prototypes": {
                "classes": classes,
                "channels": channels,
                "per_class": per_class,
                "momentum": self.prototypes.momentum,
                "temperature": self.prototypes.temperature,
            },
            "steps": self.steps,
            "samples": self.samples,
            "source": self.source,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        shape = dict(spec["network"])
        network = LATENTS[shape.pop("latent")].from_spec(shape)
        prototypes = Prototypes(**spec["prototypes"])
        return cls(network, prototypes, **{key: spec[key] for key in ("steps", "samples", "source")})

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        size = image.shape[2:]
        features = self.network.features(image)
        if self.source == "aux":
            return resized(self.network.auxiliary(features).float(), size).softmax(1)
        samples = self.samples if self.stochastic else 1
        shape = (samples, *self.network.latent_shape(size))
        noise = noise_of(seed, shape, image.device).flatten(0, 1)
        said = self.network.sample(self.network.repeated(features, samples), noise, self.steps)
        p = resized(said.logits.float(), size).softmax(1)
        if self.source != "classifier":
            near = resized(posterior(self.prototypes, said.q), size)
            p = near if self.source == "prototype" else (p + near) / 2
        return p.unflatten(0, (len(image), samples)).mean(1)


def posterior(prototypes: Prototypes, q: Tensor) -> Tensor:
    """pi (B, K, *S') of directions q (B, d, *S'): how near each class's prototypes are."""
    flat = q.movedim(1, -1)
    return prototypes.log_posterior(flat.flatten(0, -2)).exp().unflatten(0, flat.shape[:-1]).movedim(-1, 1)
