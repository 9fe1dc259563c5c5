"""UA-MT (Yu et al., MICCAI 2019, arXiv:1907.07034): a mean teacher that is followed only where it is certain."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from fewmask.config import ShareRange
from fewmask.losses import dice_ce, mse
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.nets.dropout import dropping
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update

RISE = Ramp(length=1.0)
"""How the bound rises: in the shape of the consistency weight, over the whole stage (section 3)."""


class UncertaintyAwareMeanTeacher(SemiSupervised):
    """Mean Teacher's consistency over the voxels whose entropy, averaged over noisy passes, is below a rising bound."""

    class Config(SemiSupervisedConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher (section 3)."""
        consistency: Ramp = Ramp(peak=1.0)
        """Weight of the consistency term; that of `mean_teacher`, so that certainty alone tells them apart.  Section 3:
        peak 0.1."""
        passes: int = Field(8, ge=2)
        """Noisy passes of the teacher, T (section 3)."""
        noise: float = Field(0.1, ge=0)
        """Standard deviation of the noise on the image in each pass, cut at twice that (released code)."""
        bound: ShareRange = (0.75, 1.0)
        """Share of the largest entropy, ln K, below which a voxel counts: at the start and the end (section 3)."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.teacher = teacher_of(self.segmenter)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        labelled, unlabelled, config = batch.labelled, batch.unlabelled, self.config
        terms = {"supervised": dice_ce(self.segmenter(labelled.strong[0]), labelled.label, labelled.valid)}
        weights, log = {}, {}
        if unlabelled is not None:
            with torch.no_grad():
                target = self.teacher(unlabelled.image).float().softmax(1)
                certain = self._entropy(unlabelled.image, clock) < self._bound(clock)
            student = self.segmenter(unlabelled.strong[0]).float().softmax(1)
            terms["consistency"] = mse(student, target, certain & unlabelled.valid)  # Eq. 3
            weights["consistency"] = config.consistency.weight(clock)
            log = {"certain": certain.float().mean()}
        yield Update(terms, weights, log=log)
        update_teacher(self.teacher, self.segmenter, config.ema, clock)

    def _entropy(self, image: Tensor, clock: Clock) -> Tensor:
        """Of the teacher's mean probability over noisy passes with dropout, in nats: image (B, C, *S) -> (B, *S)."""
        mean, most = 0.0, 2 * self.config.noise
        with dropping(self.teacher):
            for _ in range(self.config.passes):
                noise = torch.randn(image.shape, device=image.device, generator=clock.generator)
                seen = image + (self.config.noise * noise).clamp(-most, most)
                mean = mean + self.teacher(seen).float().softmax(1) / self.config.passes
        return -(mean * mean.clamp_min(1e-12).log()).sum(1)  # Eq. 2

    def _bound(self, clock: Clock) -> float:
        """Nats, from bound[0] to bound[1] of ln K."""
        first, last = self.config.bound
        return (first + (last - first) * RISE.weight(clock)) * math.log(self.task.classes)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
