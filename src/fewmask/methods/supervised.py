"""Supervised: the labelled images alone, with everything that is no semi-supervision; the base of every comparison."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from fewmask.losses import dice_ce
from fewmask.methods.base import Method, MethodConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update


class Supervised(Method):
    """Dice and cross entropy on strongly augmented labelled images; predicts with averaged weights."""

    class Config(MethodConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the weight average that predicts; 0: the weights themselves."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.average = teacher_of(self.segmenter)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        labelled = batch.labelled
        yield Update({"supervised": dice_ce(self.segmenter(labelled.strong[0]), labelled.label, labelled.valid)})
        update_teacher(self.average, self.segmenter, self.config.ema, clock)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.average.network)
