"""FixMatch (Sohn et al., NeurIPS 2020, arXiv:2001.07685), with a mean teacher and CutMix."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from fewmask.config import ShareRange
from fewmask.losses import cross_entropy, dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.pseudo import confident
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update


class FixMatch(SemiSupervised):
    """The student learns on the strong view what the teacher is confident of on the weak view.

    Sohn et al. let the student label itself; a moving average labels here, as in most work on segmentation since.
    """

    class Config(SemiSupervisedConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher."""
        threshold: float = Field(0.5, ge=0, lt=1)
        """Confidence below which a voxel is ignored.  0.95, the paper's (table 4), leaves little of what is hard
        (docs/results/field.md)."""
        strong_loss: Ramp = Ramp(peak=0.3)
        """Weight of the unlabelled term.  1, the paper's, blurs what was learned well (docs/results/acdc-cpu.md)."""
        cutmix: float = Field(0.5, ge=0, le=1)
        """Probability that a strong view carries a box of another one (French et al. 2020); 0: plain FixMatch."""
        cutmix_area: ShareRange = (0.02, 0.4)
        """Range of the box's share of the image (UniMatch's values)."""
        dice: bool = True
        """Whether Dice joins cross entropy on pseudo-labels."""

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
            label, keep = confident(self.teacher, unlabelled.image, config.threshold)
            views = (unlabelled.strong[0], label, keep & unlabelled.valid)
            box = boxes(tuple(label.shape), config.cutmix, config.cutmix_area, clock.generator)
            image, label, keep = (paste(box, view, view.roll(-1, dims=0)) for view in views)
            loss = dice_ce if config.dice else cross_entropy
            terms["strong"] = loss(self.segmenter(image), label, keep)
            weights["strong"] = config.strong_loss.weight(clock)
            log = {"kept": keep.float().mean(), "foreground": (keep & (label > 0)).float().mean()}
        yield Update(terms, weights, log=log)
        update_teacher(self.teacher, self.segmenter, config.ema, clock)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
