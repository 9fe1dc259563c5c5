"""Losses of segmentation and consistency; all count `valid` voxels only and are 0, never NaN, where nothing is valid.

Shapes: logits and probabilities (B, K, *S); label (B, *S) int64 in 0..K-1, any class where invalid; valid (B, *S) bool.
Everything is computed in float32, whatever autocast does around it.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTH = 1e-5
"""Keeps the soft Dice finite (SSL4MIS's value)."""


def dice(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
    *,
    per_sample: bool = False,
    absent: bool = False,
) -> Tensor:
    """1 - soft Dice with squared denominators (Milletari 2016), averaged over the classes that occur in the label.

    Background counts as a class, as in SSL4MIS.  A class without a valid voxel has no overlap to raise and is left out;
    cross entropy speaks against its false positives.  The batch is one sample, unless `per_sample`: then each row is
    scored alone and rows are averaged.  weight (B, *S) float: how much each voxel counts.  absent: classes without a
    valid voxel count as well, as they do in SSL4MIS.
    """
    return _dice(_log_probabilities(logits), label, valid, weight, per_sample, absent)


def cross_entropy(
    logits: Tensor, label: Tensor, valid: Tensor, weight: Tensor | None = None, *, per_sample: bool = False
) -> Tensor:
    """Mean over valid voxels of -log p(label), each times `weight` (B, *S), whose scale therefore matters.

    With `per_sample` the mean of each row's mean, so that rows count alike however much of them is valid.
    """
    return _cross_entropy(_log_probabilities(logits), label, valid, weight, per_sample)


def dice_ce(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
    *,
    per_sample: bool = False,
    absent: bool = False,
) -> Tensor:
    """Mean of `dice` and `cross_entropy`: the supervised loss of SSL4MIS and its descendants."""
    log_p = _log_probabilities(logits)  # once for both terms: the softmax is a good part of their cost
    return 0.5 * (
        _dice(log_p, label, valid, weight, per_sample, absent) + _cross_entropy(log_p, label, valid, weight, per_sample)
    )


def mse(p: Tensor, q: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """Consistency of two soft predictions (B, K, *S): squared difference, mean over classes and valid voxels."""
    per_voxel = (p.float() - q.float()).square().mean(dim=1)
    return masked_mean(per_voxel if weight is None else per_voxel * weight.float(), valid)


def masked_mean(per_voxel: Tensor, valid: Tensor, *, per_sample: bool = False) -> Tensor:
    """Mean of (B, *S) over valid voxels; 0 where there is none."""
    axes = tuple(range(1 if per_sample else 0, per_voxel.ndim))
    kept = torch.where(valid, per_voxel, 0)
    return (kept.sum(axes) / valid.sum(axes).clamp(min=1)).mean()


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits.float().log_softmax(dim=1)


def _dice(
    log_p: Tensor, label: Tensor, valid: Tensor, weight: Tensor | None, per_sample: bool, absent: bool = False
) -> Tensor:
    p = log_p.exp()
    counted = (valid if weight is None else valid * weight).to(p.dtype).unsqueeze(1)
    target = torch.zeros_like(p).scatter_(1, label.unsqueeze(1), counted)
    axes = tuple(range(2, p.ndim)) if per_sample else (0, *range(2, p.ndim))
    overlap, truth = (p * target).sum(axes), target.sum(axes)
    score = (2 * overlap + SMOOTH) / ((p.square() * counted).sum(axes) + truth + SMOOTH)
    present = (truth > 0) | absent
    return (((1 - score) * present).sum(-1) / present.sum(-1).clamp(min=1)).mean()


def _cross_entropy(log_p: Tensor, label: Tensor, valid: Tensor, weight: Tensor | None, per_sample: bool) -> Tensor:
    per_voxel = -log_p.gather(1, label.unsqueeze(1)).squeeze(1)
    return masked_mean(per_voxel if weight is None else per_voxel * weight, valid, per_sample=per_sample)
