"""Cross pseudo supervision (Chen et al., CVPR 2021, arXiv:2106.01226): two networks label for each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import nn

from fewmask.losses import dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update


class CrossPseudoSupervision(SemiSupervised):
    """Two networks that differ by their initialisation learn each other's hard labels of the same view."""

    class Config(SemiSupervisedConfig):
        cross_loss: Ramp = Ramp()
        """Weight of the other network's labels."""
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the weight averages that predict, as in `supervised`; 0: the weights themselves."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.other = build_segmenter(config.segmenter, task)
        self.average, self.other_average = teacher_of(self.segmenter), teacher_of(self.other)

    def groups(self) -> dict[str, nn.Module]:
        return {"segmenter": self.segmenter, "other": self.other}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, u = batch.labelled, batch.unlabelled
        terms, weights = {}, {}
        image = x.strong[0] if u is None else torch.cat([x.strong[0], u.strong[0]])
        own, others = self.segmenter(image), self.other(image)
        n = len(x.label)
        for name, logits, theirs in (("", own, others), ("other_", others, own)):
            terms[f"{name}supervised"] = dice_ce(logits[:n], x.label, x.valid)
            if u is not None:
                label = theirs[n:].detach().argmax(1)
                terms[f"{name}cross"] = dice_ce(logits[n:], label, u.valid)
                weights[f"{name}cross"] = self.config.cross_loss.weight(clock)
        yield Update(terms, weights)
        update_teacher(self.average, self.segmenter, self.config.ema, clock)
        update_teacher(self.other_average, self.other, self.config.ema, clock)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.average.network)

    def members(self) -> dict[str, Predictor]:
        return super().members() | {"other": SegmenterPredictor(self.other_average.network)}

    def audit(self) -> dict[str, Predictor]:
        return {
            "segmenter": SegmenterPredictor(self.average.network),
            "other": SegmenterPredictor(self.other_average.network),
        }
