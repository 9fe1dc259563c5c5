"""FixMatch (Sohn et al., NeurIPS 2020, arXiv:2001.07685), with a mean teacher and CutMix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from fewmask.losses import cross_entropy, dice_ce
from fewmask.methods.base import Method, MethodConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.pseudo import confident, update_confidence
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Stream, Task, Update


class FixMatch(Method):
    """The student learns on the strong view what the teacher is confident of on the weak view.

    Sohn et al. let the student label itself; a moving average labels here, as in most work on segmentation since.
    """

    class Config(MethodConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher."""
        threshold: float = Field(0.95, ge=0, lt=1)
        """Confidence below which a voxel is ignored (Sohn et al., table 4: 0.95)."""
        adaptive: bool = True
        """Whether a class that the teacher is less sure of gets a threshold of its own: its mean confidence, where that
        is lower (the local threshold of FreeMatch, Wang et al., ICLR 2023, eq. 9).  One threshold for all keeps nearly
        all background and a fifth of the foreground, which teaches to see none."""
        strong_loss: Ramp = Ramp()
        """Weight of the unlabelled term."""
        cutmix: float = Field(0.5, ge=0, le=1)
        """Probability that a strong view carries a box of another one (French et al. 2020); 0: plain FixMatch."""
        cutmix_area: tuple[float, float] = (0.02, 0.4)
        """Range of the box's share of the image (UniMatch's values)."""
        dice: bool = True
        """Whether Dice joins cross entropy on pseudo-labels."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.teacher = teacher_of(self.segmenter)
        self.register_buffer("confidence", torch.ones(task.classes))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        labelled, unlabelled, config = batch.labelled, batch.unlabelled, self.config
        terms = {"supervised": dice_ce(self.segmenter(labelled.strong[0]), labelled.label, labelled.valid)}
        weights, log = {}, {}
        if unlabelled is not None:
            label, keep = self._pseudo_label(unlabelled)
            box = boxes(tuple(label.shape), config.cutmix, config.cutmix_area, clock.generator)
            image, label, keep = (paste(box, part) for part in (unlabelled.strong[0], label, keep))
            loss = dice_ce if config.dice else cross_entropy
            terms["strong"] = loss(self.segmenter(image), label, keep)
            weights["strong"] = config.strong_loss.weight(clock)
            log = {"kept": keep.float().mean(), "foreground": (keep & (label > 0)).float().mean()}
        yield Update(terms, weights, log=log)
        update_teacher(self.teacher, self.segmenter, config.ema, clock)

    def _pseudo_label(self, unlabelled: Stream) -> tuple[Tensor, Tensor]:
        """The teacher's label (B, *S) int64 of the weak view, and where it is believed (B, *S) bool."""
        threshold = self.confidence.clamp(max=self.config.threshold) if self.config.adaptive else self.config.threshold
        label, keep, probabilities = confident(self.teacher, unlabelled.image, threshold)
        update_confidence(self.confidence, probabilities, label, unlabelled.valid)
        return label, keep & unlabelled.valid

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
