"""Segmenter: what every segmentation network of fewmask is, in three steps that methods may enter between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class Segmenter(nn.Module, ABC):
    """image (B, C, *S) -> logits (B, K, *S), for any *S, odd sizes included.

    encode -> the pyramid of features, fine to coarse; decode -> all decoder features, coarse to fine, the last one the
    voxel embedding on the image's grid; classify -> logits from the voxel embedding.
    """

    name: ClassVar[str]
    """Key in nets.SEGMENTERS."""

    def __init__(self, *, channels: int, classes: int, dims: int, width: int, dropout: float, normalisation: str):
        """channels C; classes K; dims 2 or 3; width: channels of the finest level; dropout: factor on the network's own
        rates; normalisation: `batch` or `group`."""
        super().__init__()
        self.spec: dict[str, Any] = {
            "name": self.name,
            "channels": channels,
            "classes": classes,
            "dims": dims,
            "width": width,
            "dropout": dropout,
            "normalisation": normalisation,
        }
        self.encoder_channels = tuple(width * 2**level for level in range(5))
        """Channels of each tensor that `encode` returns."""
        self.decoder_channels = self.encoder_channels[-2::-1]
        """Channels of each tensor that `decode` returns."""

    @abstractmethod
    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, *S) -> five features, each level at half the size of the one before, rounded up."""

    @abstractmethod
    def decode(self, pyramid: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The pyramid, fine to coarse -> four features, coarse to fine; the last one (B, width, *S)."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Voxel embedding (B, width, *S) -> logits (B, K, *S)."""

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.decode(self.encode(image))[-1])
