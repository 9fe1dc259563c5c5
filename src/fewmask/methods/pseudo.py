"""Pseudo-labels: what a teacher says, and where it may be believed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def confident(teacher: nn.Module, image: Tensor, threshold: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """label (B, *S) int64, keep (B, *S) bool, and the probabilities (B, K, *S) they come from.

    A voxel is kept where the winning class's probability reaches `threshold` (a number, or one per class (K,)); the
    others are to be ignored, not turned into background.
    """
    probabilities = teacher(image).float().softmax(1)
    confidence, label = probabilities.max(1)
    wanted = threshold[label] if isinstance(threshold, Tensor) else threshold
    return label, confidence >= wanted, probabilities
