"""Diff-CL (Guo et al. 2025, arXiv:2503.09408): a diffusion and a convolutional network label for each other.

The paper's body was not at hand; docs/methods/diff_cl.md tells what is known of it and what is inferred.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fewmask.config import Settings
from fewmask.diffusion.labels import LabelDiffusion, Times
from fewmask.losses import dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.propagation import PURE, LabelPropagation
from fewmask.methods.pseudo import likeliest
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.nets.diffusion_segmenter import DiffusionSegmenter
from fewmask.nets.high_frequency import Attend, HighFrequencySegmenter
from fewmask.nets.high_pass import HighPass
from fewmask.nets.mamba import Scan
from fewmask.predictors import DiffusionPredictor, Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Stream, Task, Update

Level = Annotated[int, Field(ge=1, le=4)]
"""Of a skip or a decoder feature: 1 on the image's grid, each further one at half the size."""


class DiffCL(SemiSupervised):
    """Groups `cnn` (segmentation network with the high-frequency module, and the projector) and `diffusion`."""

    class Config(SemiSupervisedConfig):
        class Module(Settings):
            """The high-frequency Mamba module on the CNN's skips (row numbers: section 5 of the specification)."""

            levels: tuple[Level, ...] = (3, 4)
            """Skips that carry it, 1 the finest; empty: none (14)."""
            high_pass: HighPass = "fft"
            """(11)"""
            scan: Scan = "both"
            """(12)"""
            attend: Attend = "detail"
            """(15)"""

        class Diffusion(Settings):
            """The diffusion network."""

            width: int | None = Field(None, ge=1)
            """Channels of its finest level; None: as the segmenter's (1)."""
            normalisation: Literal["batch", "group"] = "batch"
            """group, so that a batch need not mix noise levels, takes absolute intensity away (6)."""
            dropout: float | None = Field(None, ge=0, le=1)
            """Factor on its own dropout rates; None: as the segmenter's."""
            times: int = Field(1000, ge=2)
            """Noise levels T (3)."""
            samples: int = Field(1, ge=1)
            """DDIM steps of a pseudo-label (4); further ones, 10 as usual, make labels no better
            (docs/results/hippocampus-diff-cl.md)."""
            scale: float = Field(0.03, gt=0, le=1)
            """Of the labels that are noised: at 1, as usual, they can be found again without the image up to high
            noise, and the network learns labels of images a fourth as well (docs/results/hippocampus-diff-cl.md)."""
            guard: Times = "upper"
            """Noise levels at which it learns pseudo-labels: the noised label is its input, so at low noise it could
            copy what it should learn (7)."""

            @model_validator(mode="after")
            def _visits(self) -> Self:
                if self.samples > self.times:
                    raise ValueError(f"samples={self.samples} of times={self.times} noise levels; at most {self.times}")
                return self

        class Propagation(Settings):
            """Contrastive label propagation."""

            weight: float = Field(0.1, ge=0)
            """Of its loss beside the cross loss; 0: none (9)."""
            level: Level = 3
            """Decoder level whose voxels are the regions, 1 the finest (16)."""
            memory: int = Field(128, ge=8)
            """Entries per class (17)."""
            temperature: float = Field(0.1, gt=0)
            """(19)"""

        module: Module = Module()
        diffusion: Diffusion = Diffusion()
        diffuse: bool = True
        """False: the control without diffusion.  The diffusion network sees zeros in the noised label's place and
        labels in one pass; all else is equal."""
        propagation: Propagation = Propagation()
        cross_loss: Ramp = Ramp()
        """Weight of the other network's labels, in both directions (9)."""
        skip_below: float = Field(0.03, ge=0, lt=1)
        """Share of the ramp's peak under which the unlabelled images are left alone, which saves their sampling."""
        infer: Literal["cnn", "diffusion", "mean"] = "cnn"
        """Which network predicts (20)."""
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the weight averages that predict and are sampled; 0: the weights themselves."""

        @model_validator(mode="after")
        def _diffuses(self) -> Self:
            if not self.diffuse:
                self.refuse_given(
                    [f"diffusion.{name}" for name in ("times", "samples", "scale", "guard")], "diffuse=false"
                )
            return self

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        network, module, diffusion = build_segmenter(config.segmenter, task), config.module, config.diffusion
        if module.levels:
            network = HighFrequencySegmenter(
                network,
                levels=module.levels,
                high_pass=module.high_pass,
                scan=module.scan,
                attend=module.attend,
            )
        self.segmenter = network
        self.denoiser = DiffusionSegmenter(
            channels=task.channels,
            classes=task.classes,
            dims=task.dims,
            width=diffusion.width or config.segmenter.width,
            normalisation=diffusion.normalisation,
            dropout=config.segmenter.dropout if diffusion.dropout is None else diffusion.dropout,
        )
        self.labels = LabelDiffusion(task.classes, diffusion.times, diffusion.scale, diffuse=config.diffuse)
        self.propagation = LabelPropagation(
            task.dims,
            network.decoder_channels[-config.propagation.level],
            task.classes,
            memory=config.propagation.memory,
            temperature=config.propagation.temperature,
        )
        self.average, self.sampler = teacher_of(self.segmenter), teacher_of(self.denoiser)

    def groups(self) -> dict[str, nn.Module]:
        return {"cnn": nn.ModuleList([self.segmenter, self.propagation]), "diffusion": self.denoiser}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, u, config = batch.labelled, batch.unlabelled, self.config
        n, weight = len(x.label), config.cross_loss.weight(clock)
        cross = u is not None and weight > config.skip_below * config.cross_loss.peak
        image = torch.cat([x.strong[0], u.strong[0]]) if cross else x.strong[0]
        features = self.segmenter.decode(self.segmenter.encode(image))
        logits = self.segmenter.classify(features[-1])
        noisy, t = self.labels.draw(x.label, "all", clock.generator)
        terms, weights = {"supervised": dice_ce(logits[:n], x.label, x.valid)}, {}
        if cross:
            cnn_label = likeliest(logits[n:])
            diffusion_label = self._sampled(u.image, clock)
            noisy_label, late = self.labels.draw(cnn_label, config.diffusion.guard, clock.generator)
            noisy, t = torch.cat([noisy, noisy_label]), torch.cat([t, late])
            terms["cross"] = dice_ce(logits[n:], diffusion_label, u.valid)
        denoised = self.denoiser(noisy, t, image)
        terms["diffusion_supervised"] = dice_ce(denoised[:n], x.label, x.valid)
        if cross:
            terms["diffusion_cross"] = dice_ce(denoised[n:], cnn_label, u.valid)
            weights = {"cross": weight, "diffusion_cross": weight}
        if config.propagation.weight:
            propagated = self._propagated(features, logits, x, u if cross else None)
            if propagated is not None:
                terms["propagation"], weights["propagation"] = propagated, weight * config.propagation.weight
        yield Update(terms, weights)
        update_teacher(self.average, self.segmenter, config.ema, clock)
        update_teacher(self.sampler, self.denoiser, config.ema, clock)

    @torch.no_grad()
    def _sampled(self, image: Tensor, clock: Clock) -> Tensor:
        """The diffusion network's label (B, *S) of an image."""
        shape = (len(image), self.task.classes, *image.shape[2:])
        noise = torch.randn(shape, device=image.device, generator=clock.generator)
        return likeliest(self.labels.sample(self.sampler.network, image, noise, self.config.diffusion.samples))

    def _propagated(
        self, features: tuple[Tensor, ...], logits: Tensor, labelled: Stream, unlabelled: Stream | None
    ) -> Tensor | None:
        """Remember what the labelled rows show, and the contrastive loss of the unlabelled ones where there are any."""
        feature, n, bank = features[-self.config.propagation.level], len(labelled.label), self.propagation
        with torch.set_grad_enabled(unlabelled is not None):
            regions = bank.regions(feature)
        truth = bank.shares(labelled.label, labelled.valid, feature)
        found = bank.shares(likeliest(logits[:n]), labelled.valid, feature)
        bank.remember(regions[:n], truth, found)
        if unlabelled is None:
            return None
        inside = bank.shares(torch.zeros_like(logits[n:, 0], dtype=torch.int64), unlabelled.valid, feature)[..., 0]
        return bank.loss(regions[n:], inside >= PURE)

    def lower(self) -> str:
        return ", or drop the finest of method.module.levels" if self.config.module.levels else ""

    def predictor(self) -> Predictor:
        segmenter = self.average.network
        if self.config.infer == "cnn":
            return SegmenterPredictor(segmenter)
        return self._sampling(segmenter if self.config.infer == "mean" else None)

    def members(self) -> dict[str, Predictor]:
        return super().members() | {"diffusion": self._sampling(None)}

    def audit(self) -> dict[str, Predictor]:
        return {"cnn": SegmenterPredictor(self.average.network), "diffusion": self._sampling(None)}

    def _sampling(self, beside: nn.Module | None) -> Predictor:
        settings = self.config.diffusion
        return DiffusionPredictor(
            self.sampler.network,
            settings.times,
            settings.samples,
            beside,
            scale=settings.scale,
            diffuse=self.config.diffuse,
        )
