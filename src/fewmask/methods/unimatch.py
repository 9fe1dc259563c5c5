"""UniMatch (Yang et al., CVPR 2023, arXiv:2208.09910), V1: two strong views and a perturbed feature learn one label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from fewmask.config import ShareRange
from fewmask.losses import dice, dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.pseudo import confident
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.nets.running_statistics import unmoved
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, StrongView, Task, Update, Views, WeakView

STRONG, FEATURE = 0.25, 0.5
"""Shares of each strong view and of the perturbed feature in the unlabelled loss: mu / 2 and lambda, both 0.5 (section
3.3)."""


class UniMatch(SemiSupervised):
    """FixMatch with two strong views of one image (section 3.3) and one view perturbed between encoder and decoder
    (section 3.2); the label of the weak view, where it is confident, serves all three."""

    class Config(SemiSupervisedConfig):
        PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
            "averaged": {},
            "published": {
                "burn_in": 0.0,
                "ema": 0.0,
                "threshold": 0.95,
                "unlabelled_loss": {"peak": 1.0, "length": 0.0},
                "dice_only": True,
                "absent": True,
                "labelled_view": "weak",
                "weak": WeakView(rotation=20).model_dump(),
                "strong": StrongView(
                    contrast=(0.5, 1.5),
                    contrast_probability=0.8,
                    brightness=0.5,
                    brightness_probability=0.8,
                    blur=(0.1, 2.0),
                    blur_probability=0.5,
                ).model_dump(),
            },
        }

        preset: Literal["averaged", "published"] = "averaged"
        """averaged: a moving average labels and predicts, as in all methods here.  published: the released ACDC code,
        in which the network labels itself from the first step on.  Each field can still be set."""
        ema: float = Field(0.99, ge=0, lt=1)
        """Decay of the teacher; 0: the network labels itself, in evaluation mode."""
        threshold: float = Field(0.5, ge=0, lt=1)
        """Confidence below which a voxel is ignored; published: 0.95 (released ACDC configuration)."""
        unlabelled_loss: Ramp = Ramp(peak=0.3)
        """Weight of the three unlabelled terms together; `fixmatch`'s.  Paper: 1."""
        feature_dropout: float = Field(0.5, ge=0, lt=1)
        """Share of channels of every encoder level that are zeroed (section 3.2)."""
        cutmix: float = Field(0.5, ge=0, le=1)
        """Probability that a strong view carries a box of another image's (released code)."""
        cutmix_area: ShareRange = (0.02, 0.4)
        """Range of the box's share of the image (released code)."""
        dice_only: bool = False
        """Dice alone on pseudo-labels, as in the released ACDC code; else Dice and cross entropy."""
        absent: bool = False
        """Whether classes without a counted voxel enter Dice, as in the released code."""
        labelled_view: Literal["strong", "weak"] = "strong"
        """View in which true labels are learnt; weak: the released code."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.teacher = teacher_of(self.segmenter)

    def views(self) -> Views:
        return Views(weak=self.config.weak, strong=(self.config.strong,) * 2, unlabelled=True)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, u, config = batch.labelled, batch.unlabelled, self.config
        image = x.image if config.labelled_view == "weak" else x.strong[0]
        terms = {"supervised": dice_ce(self.segmenter(image), x.label, x.valid, absent=config.absent)}
        weights, log = {}, {}
        if u is not None:
            label, keep = confident(self.teacher, u.image, config.threshold)
            keep = keep & u.valid
            mixed = []
            for view, partner in zip(u.strong, (-1, 1), strict=True):
                box = boxes(tuple(label.shape), config.cutmix, config.cutmix_area, clock.generator)
                mixed.append([paste(box, rows, rows.roll(partner, dims=0)) for rows in (view, label, keep)])
            logits = self.segmenter(torch.cat([image for image, _, _ in mixed])).chunk(2)
            perturbed = [torch.feature_dropout(f, config.feature_dropout, True) for f in self.segmenter.encode(u.image)]
            with unmoved(self.segmenter):
                feature = self.segmenter.classify(self.segmenter.decode(tuple(perturbed))[-1])
            loss, weight = (dice if config.dice_only else dice_ce), config.unlabelled_loss.weight(clock)
            for name, said, (_, told, kept) in zip(("strong", "other_strong"), logits, mixed, strict=True):
                terms[name], weights[name] = loss(said, told, kept, absent=config.absent), STRONG * weight
            terms["feature"], weights["feature"] = loss(feature, label, keep, absent=config.absent), FEATURE * weight
            log = {"kept": keep.float().mean(), "foreground": (keep & (label > 0)).float().mean()}
        yield Update(terms, weights, log=log)
        update_teacher(self.teacher, self.segmenter, config.ema, clock)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.teacher.network)

    def audit(self) -> dict[str, Predictor]:
        return {"raw": SegmenterPredictor(self.teacher.network)}
