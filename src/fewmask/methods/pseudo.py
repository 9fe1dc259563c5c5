"""Pseudo-labels: what a network says, where it may be believed, and how far two labels are apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fewmask.losses import SMOOTH


def likeliest(scores: Tensor) -> Tensor:
    """The class (B, *S) int64 of the highest score (B, K, *S): argmax, which takes torch on a CPU 6 times as long."""
    return scores.detach().max(1).indices


@torch.no_grad()
def confident(teacher: nn.Module, image: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """label (B, *S) int64 and keep (B, *S) bool: where the winning class's probability reaches `threshold`.

    The other voxels are to be ignored, not turned into background.
    """
    confidence, label = teacher(image).float().softmax(1).max(1)
    return label, confidence >= threshold


@torch.no_grad()
def clear_of_the_least(p: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """label (B, *S) int64 and keep (B, *S) bool of probabilities (B, K, *S): keep where (max - min) / max > threshold.

    DiffRect's rule (released code), inherited from SSL4MIS; with a threshold of 0.8 only nearly uniform voxels fail.
    """
    highest, label = p.max(1)
    return label, (highest - p.amin(1)) / highest > threshold


@torch.no_grad()
def label_distance(one: Tensor, other: Tensor, classes: int, *, per_sample: bool = False) -> Tensor:
    """1 - Dice of two label maps (B, *S), mean over all classes, in [0, 1]: () over the batch, or (B,) `per_sample`.

    A class that neither contains counts as agreement.
    """
    axes = tuple(range(1 if per_sample else 0, one.ndim))
    a, b = one_hot(one, classes), one_hot(other, classes)
    overlap, sizes = (a * b).sum(axes), (a + b).sum(axes)
    return (1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)).mean(-1)
