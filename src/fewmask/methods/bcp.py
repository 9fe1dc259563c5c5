"""BCP (Bai et al., CVPR 2023, arXiv:2305.00673): labelled boxes in unlabelled images, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from fewmask.losses import dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.components import largest_components
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.mixing import paste, placed_boxes
from fewmask.methods.pseudo import likeliest
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Stream, Task, Update


class BidirectionalCopyPaste(SemiSupervised):
    """First labelled images with boxes of one another (pretraining, the burn-in); then, in each step, labelled images
    with an unlabelled box (inward, Eq. 1) and unlabelled ones with a labelled box (outward, Eq. 2)."""

    class Config(SemiSupervisedConfig):
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher (released code)."""
        box: float = Field(2 / 3, gt=0, lt=1)
        """Side of the pasted box as a share of the image's, on every axis: beta (released code)."""
        pseudo_loss: float = Field(0.5, ge=0)
        """Weight of voxels with a pseudo-label beside those with a true one: alpha (released code)."""
        largest_component: bool = True
        """Whether a pseudo-label keeps only the largest component of each class (released code)."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.teacher = teacher_of(self.segmenter)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, u = batch.labelled, batch.unlabelled
        box = placed_boxes(tuple(x.label.shape), self.config.box, clock.generator)
        yield self._pretrain(x, box) if u is None else self._mix(x, u, box)
        update_teacher(self.teacher, self.segmenter, self.config.ema, clock)

    def _pretrain(self, x: Stream, box: Tensor) -> Update:
        image, label, valid = (paste(box, rows, rows.roll(-1, dims=0)) for rows in (x.strong[0], x.label, x.valid))
        return Update({"supervised": dice_ce(self.segmenter(image), label, valid)})

    def _mix(self, x: Stream, u: Stream, box: Tensor) -> Update:
        label = self._pseudo(u.image)
        # row i of the labelled images is mixed with row i of the unlabelled ones outward, with the next one inward
        partner = torch.arange(len(x.label), device=box.device) % len(u.image)
        other = (partner + 1) % len(u.image)
        outward = paste(box, u.strong[0][partner], x.strong[0])  # Eq. 2
        inward = paste(box, x.strong[0], u.strong[0][other])  # Eq. 1
        into, from_ = self.segmenter(torch.cat([outward, inward])).chunk(2)
        terms = {  # each region by itself, so that neither's size decides its worth
            "outward": dice_ce(into, x.label, x.valid & box),
            "outward_pseudo": dice_ce(into, label[partner], u.valid[partner] & ~box),
            "inward": dice_ce(from_, x.label, x.valid & ~box),
            "inward_pseudo": dice_ce(from_, label[other], u.valid[other] & box),
        }
        weights = {name: self.config.pseudo_loss for name in terms if name.endswith("pseudo")}
        return Update(terms, weights, log={"foreground": (label > 0).float().mean()})

    @torch.no_grad()
    def _pseudo(self, image: Tensor) -> Tensor:
        """The teacher's label (B, *S) of a weak view."""
        label = likeliest(self.teacher(image))
        return largest_components(label, self.task.classes) if self.config.largest_component else label

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
