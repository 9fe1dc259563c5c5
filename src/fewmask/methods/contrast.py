"""Losses around prototypes, and which voxels they see (ProtoSeg, arXiv:2203.15102; ClusterNet, IEEE TCSVT 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.nets.prototypes import Prototypes


def contrast(prototypes: Prototypes, q: Tensor, label: Tensor, chosen: Tensor, compactness: float) -> Tensor:
    """-log softmax over all prototypes of the nearest one of the voxel's class + `compactness` (1 - its cosine)^2.

    q (N, d), label (N,), chosen (N,) bool; the mean over chosen voxels of known classes, 0 where there is none.
    """
    rows = (chosen & prototypes.known[label]).nonzero().squeeze(1)
    if not len(rows):
        return (q * 0).sum()
    q, label = q[rows], label[rows]
    similarity = prototypes.similarities(q)
    slots = similarity.shape[2]
    own, slot = similarity.gather(1, label.view(-1, 1, 1).expand(-1, 1, slots)).squeeze(1).max(-1)
    against = F.cross_entropy((similarity / prototypes.temperature).flatten(1), label * slots + slot)
    return against + compactness * (1 - own).square().mean()


def consistency(prototypes: Prototypes, q: Tensor, teachers: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of KL(pi(teacher) || pi(q)) over voxels; q, teachers (N, d), weight (N,)."""
    known = prototypes.known
    ours, theirs = (prototypes.log_posterior(rows)[:, known] for rows in (q, teachers.detach()))
    divergence = (theirs.exp() * (theirs - ours)).sum(1)
    return (weight * divergence).sum() / weight.sum().clamp(min=1e-6)


def balanced(label: Tensor, valid: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """Which voxels of label (B, *S) take part: (B, *S) bool, at most `share` of each row, only valid ones.

    Each class that occurs in a row has an equal quota, drawn at random; what is left of it goes to the background.
    """
    rows, voxels = len(label), label[0].numel()
    flat = torch.where(valid, label, classes).flatten(1)
    counts = F.one_hot(flat, classes + 1)[..., :classes].sum(1)  # (B, K)
    most = max(1, round(share * voxels))
    quota = most // (counts > 0).sum(1, keepdim=True).clamp(min=1)
    taken = torch.minimum(counts, quota)
    taken[:, 0] = torch.minimum(counts[:, 0], most - taken[:, 1:].sum(1))
    taken = torch.cat([taken, torch.zeros_like(taken[:, :1])], dim=1)
    # a voxel's rank among those of its class, in a random order
    draw = torch.rand(flat.shape, generator=generator, device=flat.device)
    order = draw.argsort(1)
    order = order.gather(1, flat.gather(1, order).argsort(dim=1, stable=True))
    kinds = flat.gather(1, order)
    starts = F.pad(counts.cumsum(1), (1, 0))
    rank = torch.arange(voxels, device=flat.device) - starts.gather(1, kinds)
    chosen = torch.zeros(rows, voxels, dtype=torch.bool, device=flat.device)
    return chosen.scatter_(1, order, rank < taken.gather(1, kinds)).view_as(label)
