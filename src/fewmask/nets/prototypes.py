"""Class prototypes as anchors: unit vectors that follow, without gradients, what labelled voxels look like.

After ProtoSeg (Zhou et al., CVPR 2022, arXiv:2203.15102).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.distributed import all_sum

FEWEST = 4
"""Voxels of a class in a batch below which its prototype stays."""
SHARPNESS, ROUNDS = 0.05, 3
"""Of the balanced assignment to several prototypes of a class (Sinkhorn; Cuturi, NeurIPS 2013)."""


class Prototypes(nn.Module):
    """`per_class` unit vectors a class; directions q are (N, d) of unit length, one a voxel, float32.

    A prototype that nothing has been seen of takes no part.  All processes hold the same ones.
    """

    vectors: Tensor
    seen: Tensor

    def __init__(self, classes: int, channels: int, per_class: int, momentum: float, temperature: float) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        # random, so that those of one class part from each other; overwritten when they are first seen
        self.register_buffer("vectors", F.normalize(torch.randn(classes, per_class, channels), dim=-1))
        self.register_buffer("seen", torch.zeros(classes, per_class, dtype=torch.bool))

    @property
    def known(self) -> Tensor:
        """(K,) bool: the classes that have a prototype."""
        return self.seen.any(1)

    def similarities(self, q: Tensor) -> Tensor:
        """q (N, d) -> its cosine with each prototype (N, K, per_class), -inf with those not seen yet."""
        with torch.autocast(q.device.type, enabled=False):  # at a temperature of 0.1 every digit counts
            found = torch.einsum("nd,kpd->nkp", q, self.vectors)
        return found.masked_fill(~self.seen, -torch.inf)

    def log_posterior(self, q: Tensor) -> Tensor:
        """log pi (N, K): softmax over classes of the nearest prototype's cosine over the temperature.

        -inf for unknown classes; uniform while none is known.
        """
        best = self.similarities(q).amax(-1) / self.temperature
        return torch.where(self.seen.any(), best, torch.zeros_like(best)).log_softmax(-1)

    @torch.no_grad()
    def follow(self, q: Tensor, label: Tensor, weight: Tensor) -> None:
        """Move each class's prototypes towards the mean direction of its voxels; sums run over all processes.

        q (N, d); label (N,) int64; weight (N,) float: 0 where a voxel does not count.
        """
        classes, per_class, _ = self.vectors.shape
        share = F.one_hot(label, classes).to(q.dtype) * weight.unsqueeze(1)
        slots = share.unsqueeze(-1) if per_class == 1 else share.unsqueeze(-1) * self._slots(q, label, weight > 0)
        with torch.autocast(q.device.type, enabled=False):
            sums = all_sum(torch.einsum("nkp,nd->kpd", slots, q))
        counts = all_sum((slots > 0).sum(0))
        enough = counts >= FEWEST
        mean = F.normalize(sums, dim=-1)
        moved = F.normalize(self.momentum * self.vectors + (1 - self.momentum) * mean, dim=-1)
        moved = torch.where(self.seen.unsqueeze(-1), moved, mean)
        self.vectors.copy_(torch.where(enough.unsqueeze(-1), moved, self.vectors))
        self.seen |= enough

    @torch.no_grad()
    def place(self, vectors: Tensor) -> None:
        """Put unit vectors (K, d) in their places, all seen."""
        self.vectors.copy_(vectors.unsqueeze(1))
        self.seen.fill_(True)

    def _slots(self, q: Tensor, label: Tensor, counted: Tensor) -> Tensor:
        """(N, K, per_class): one-hot for a voxel's own class, evenly filled; zeros for the others."""
        taken = torch.zeros(len(q), *self.seen.shape, device=q.device)
        for kind, vectors in enumerate(self.vectors):
            rows = ((label == kind) & counted).nonzero().squeeze(1)
            if len(rows):
                shares = torch.exp(q[rows] @ vectors.T / SHARPNESS)
                for _ in range(ROUNDS):
                    shares = shares / shares.sum(0, keepdim=True) / len(vectors)
                    shares = shares / shares.sum(1, keepdim=True) / len(rows)
                taken[rows, kind] = F.one_hot(shares.argmax(1), len(vectors)).to(taken.dtype)
        return taken
