"""Cross pseudo supervision (Chen et al., CVPR 2021, arXiv:2106.01226): two networks label for each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fewmask.losses import dice_ce
from fewmask.methods.base import SemiSupervised, SemiSupervisedConfig
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.pseudo import likeliest
from fewmask.methods.ramps import Ramp
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update


class CrossPseudoSupervision(SemiSupervised):
    """Two networks that differ by their initialisation learn each other's hard labels of the same view."""

    class Config(SemiSupervisedConfig):
        cross_loss: Ramp = Ramp()
        """Weight of the other network's labels."""
        labels: Literal["live", "averaged"] = "live"
        """What labels: the other network as it trains, on the same strong view, as published; or its weight average, on
        the weak view, as `diff_cl` is labelled by its diffusion network."""
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
        sides = (("", own, others, self.other_average), ("other_", others, own, self.average))
        for name, logits, theirs, average in sides:
            terms[f"{name}supervised"] = dice_ce(logits[:n], x.label, x.valid)
            if u is not None:
                label = self._label(theirs[n:], average, u.image)
                terms[f"{name}cross"] = dice_ce(logits[n:], label, u.valid)
                weights[f"{name}cross"] = self.config.cross_loss.weight(clock)
        yield Update(terms, weights)
        update_teacher(self.average, self.segmenter, self.config.ema, clock)
        update_teacher(self.other_average, self.other, self.config.ema, clock)

    @torch.no_grad()
    def _label(self, logits: Tensor, average: nn.Module, image: Tensor) -> Tensor:
        """The label map (B, *S) of the network with these logits of the strong view and this weight average."""
        return likeliest(logits if self.config.labels == "live" else average(image))

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.average.network)

    def members(self) -> dict[str, Predictor]:
        return super().members() | {"other": SegmenterPredictor(self.other_average.network)}

    def audit(self) -> dict[str, Predictor]:
        return {
            "segmenter": SegmenterPredictor(self.average.network),
            "other": SegmenterPredictor(self.other_average.network),
        }
