"""A segmentation network whose label is calibrated before it counts (Caudo-Diff); in an audit also its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor, nn

from fewmask.config import validated
from fewmask.diffusion.calibration import Guides, LatentCalibrator, gated
from fewmask.diffusion.fusion import Fused, Trust, agreement, blend, fuse
from fewmask.nets import build_from_spec
from fewmask.nets.guide import features_of
from fewmask.nets.label_autoencoder import LabelAutoencoder
from fewmask.predictors.base import Predictor
from fewmask.predictors.rectified import noise_of

Control = Literal["none", "autoencoder", "one_call", "random_start", "no_features", "no_label"]
"""What takes the calibration's place: nothing; the label's own latent, decoded; the denoiser's first answer; a start
from fresh noise, as DiffRect's; a calibration whose guide is hidden, or the label's latent, as a share of its training
saw it: the gate and the product with the label's own probabilities stay."""


class Calibrated(NamedTuple):
    """raw (B, K, *S): the segmentation network's probabilities; fused: what is learnt of them."""

    raw: Tensor
    fused: Fused


class CalibratedPredictor(Predictor):
    """The segmentation network's probabilities, calibrated, fused with what they were, and believed or not."""

    def __init__(
        self,
        segmenter: nn.Module,
        autoencoder: LabelAutoencoder,
        calibrator: LatentCalibrator,
        *,
        share: float,
        omega: float,
        trust: Trust,
        control: Control = "none",
    ) -> None:
        """share: of the calibration in the product of probabilities; omega: weight of voxels that it changes."""
        super().__init__()
        self.segmenter, self.autoencoder, self.calibrator = segmenter, autoencoder, calibrator
        self.share, self.omega, self.trust = share, omega, trust
        self.control = get_args(Control)[get_args(Control).index(control)]
        self.stochastic = control == "random_start"

    @property
    def width(self) -> int:
        return self.segmenter.encoder_channels[0] + self.autoencoder.spec["width"]

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "predictor": "calibrated",
            "segmenter": self.segmenter.spec,
            "autoencoder": self.autoencoder.spec,
            "calibrator": self.calibrator.spec,
            "share": self.share,
            "omega": self.omega,
            "trust": self.trust.model_dump(mode="json"),
            "control": self.control,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        return cls(
            build_from_spec(spec["segmenter"]),
            LabelAutoencoder(**spec["autoencoder"]),
            LatentCalibrator(**spec["calibrator"]),
            share=spec["share"],
            omega=spec["omega"],
            trust=validated(Trust, spec["trust"], where="trust"),
            control=spec["control"],
        )

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        return self.calibrated(image, seed).fused.p

    def calibrated(self, image: Tensor, seed: Tensor | None = None) -> Calibrated:
        """What is learnt of images (B, C, *S); seed (B,): of fresh noise, where a control wants it."""
        p, guides = self._asked(image)
        q = self._decoded(guides, p, seed)

        def first(p: Tensor, guides: Guides) -> Tensor:
            calls = None if self.control == "random_start" else 1  # whose first answer is a guess
            return blend(p, self._decoded(guides, p, seed, calls), self.share).argmax(1)

        # the other views' first answers: all calls for each would make this most of a run's time
        agreed = agreement(lambda view: first(*self._asked(view)), image, blend(p, q, self.share).argmax(1), p.shape[1])
        return Calibrated(p, fuse(p, q, guides.gate, agreed, share=self.share, omega=self.omega, trust=self.trust))

    def _asked(self, image: Tensor) -> tuple[Tensor, Guides]:
        """The segmentation network's probabilities, and what they and its features guide to."""
        logits, features = features_of(self.segmenter, image, self.calibrator.halvings)
        p = logits.float().softmax(1)
        return p, self.calibrator.guides(p, features, self.autoencoder)

    def _decoded(self, guides: Guides, p: Tensor, seed: Tensor | None, calls: int | None = None) -> Tensor:
        """The calibration of probabilities p; calls: of the denoiser, None: as trained for."""
        latent = self._latent(guides, seed, calls)
        if self.control == "autoencoder":
            return self.autoencoder.logits(latent, p.shape[2:]).float().softmax(1)
        return self.changed(p, guides.z, latent)

    def changed(self, p: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Probabilities p (B, K, *S), and where the decoder's winner is another after than before, what it says then.

        An unchanged latent changes nothing: what the autoencoder does not keep of a label is no error of it.
        """
        was, now = (self.autoencoder.logits(latent, p.shape[2:]).float() for latent in (before, after))
        return torch.where((was.argmax(1) != now.argmax(1)).unsqueeze(1), now.softmax(1), p)

    def _latent(self, guides: Guides, seed: Tensor | None, calls: int | None = None) -> Tensor:
        if self.control == "autoencoder":
            return guides.z
        if self.control == "no_features":
            guides = guides._replace(g=torch.zeros_like(guides.g))
        if self.control == "no_label":
            return gated(self.calibrator.find(guides._replace(z=torch.zeros_like(guides.z)), calls), guides)
        if self.control == "random_start" and seed is not None:
            noise = noise_of(seed, guides.z.shape[1:], guides.z.device)
            return self.calibrator.sample(guides, calls, noise)
        return self.calibrator.sample(guides, 1 if self.control == "one_call" else calls)
