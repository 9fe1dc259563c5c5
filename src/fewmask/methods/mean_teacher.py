"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017, arXiv:1703.01780): agreement with a moving average."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field

from fewmask.losses import dice_ce, mse
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update


class MeanTeacher(SemiSupervised):
    """Mean squared difference of the student's probabilities on the strong view and the teacher's on the weak view."""

    class Config(SemiSupervisedConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher (SSL4MIS: 0.99)."""
        consistency: Ramp = Ramp(peak=1.0)
        """Weight of the consistency term; section 3 ramps it up with the sigmoid shape."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.teacher = teacher_of(self.segmenter)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        labelled, unlabelled = batch.labelled, batch.unlabelled
        terms = {"supervised": dice_ce(self.segmenter(labelled.strong[0]), labelled.label, labelled.valid)}
        weights = {}
        if unlabelled is not None:
            with torch.no_grad():
                target = self.teacher(unlabelled.image).float().softmax(1)
            student = self.segmenter(unlabelled.strong[0]).float().softmax(1)
            terms["consistency"] = mse(student, target, unlabelled.valid)
            weights["consistency"] = self.config.consistency.weight(clock)
        yield Update(terms, weights)
        update_teacher(self.teacher, self.segmenter, self.config.ema, clock)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
