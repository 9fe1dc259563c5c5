"""A segmentation network as predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from fewmask.nets import build_from_spec
from fewmask.predictors.base import Predictor


class SegmenterPredictor(Predictor):
    """One segmentation network; draws nothing at random."""

    kind = "segmenter"

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    @property
    def width(self) -> int:
        return self.segmenter.encoder_channels[0]

    @property
    def spec(self) -> dict[str, Any]:
        return {"predictor": self.kind, "segmenter": self.segmenter.spec}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        return cls(build_from_spec(spec["segmenter"]))

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        return self.segmenter(image).float().softmax(1)
