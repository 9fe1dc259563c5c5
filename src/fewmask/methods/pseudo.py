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


@torch.no_grad()
def update_confidence(
    confidence: Tensor, probabilities: Tensor, label: Tensor, valid: Tensor, decay: float = 0.99
) -> None:
    """confidence (K,), in place: moving average of the mean probability of the voxels that get each class.

    A class that no valid voxel gets keeps its value.  FreeMatch (Wang et al., ICLR 2023, arXiv:2205.07246), eq. 8, with
    the mean over the class's own voxels.
    """
    winning = probabilities.amax(1)
    for index in range(len(confidence)):
        chosen = (label == index) & valid
        count = chosen.sum()
        mean = (winning * chosen).sum() / count.clamp(min=1)
        confidence[index].lerp_(torch.where(count > 0, mean, confidence[index]), 1 - decay)
