"""Predictor: image -> class probabilities; what inference needs of a method, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn


class Predictor(nn.Module, ABC):
    """Everything that inference needs of a method, and nothing else."""

    stochastic: bool = False
    """Whether the seed matters: then `--samples` averages over several."""

    @property
    def width(self) -> int:
        """Channels of the widest finest-level feature, by which memory is estimated."""
        return 16

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """JSON from which `build_predictor` makes the same networks anew, with fresh weights."""

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The predictor that `spec` describes, with fresh weights."""

    @abstractmethod
    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        """Probability of each class.  image (B, C, *S) float32, seed (B,) int64 -> (B, K, *S), sums to one over K.

        Chance of row b comes from seed[b] alone, so that a result depends neither on the order of cases nor on how
        slices and windows are batched.
        """
