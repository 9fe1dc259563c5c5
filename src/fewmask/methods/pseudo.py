"""Pseudo-labels: what a teacher says, and where it may be believed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def confident(teacher: nn.Module, image: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """label (B, *S) int64 and keep (B, *S) bool: where the winning class's probability reaches `threshold`.

    The other voxels are to be ignored, not turned into background.
    """
    confidence, label = teacher(image).float().softmax(1).max(1)
    return label, confidence >= threshold
