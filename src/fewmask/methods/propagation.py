"""Contrastive label propagation (Diff-CL, arXiv:2503.09408; form inferred): what looks like a class becomes it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fewmask.distributed import all_rows, all_sum
from fewmask.nets.blocks import CONVOLUTION, norm

PURE = 0.9
"""Share of a region that a class must fill for the region to tell what the class looks like."""
FILLED = 8
"""Entries below which a class's memory says nothing yet."""
CLAIMED = 0.5
"""Share of a class's expected regions that may be claimed for it: more would claim what does not exist."""
FEWEST, MOST = 16, 512
"""Bounds of the claimed regions of a class, and how many of the least similar are pushed away."""


class LabelPropagation(nn.Module):
    """Projects regions (voxels of a coarse feature) onto the unit sphere and remembers where classes lie there.

    The loss draws to a class the unlabelled regions most like it, as many as its frequency admits, and away from it the
    ones least like it.  A class that no labelled patch has shown often enough takes no part.
    """

    def __init__(self, dims: int, channels: int, classes: int, *, memory: int, temperature: float) -> None:
        """memory: entries kept per class, first in, first out; temperature: of the contrast."""
        super().__init__()
        self.classes, self.temperature = classes, temperature
        self.project = nn.Sequential(
            CONVOLUTION[dims](channels, channels, 1),
            norm("batch", dims, channels),
            nn.ReLU(),
            CONVOLUTION[dims](channels, channels, 1),
        )
        self.register_buffer("memory", torch.zeros(classes, memory, channels))
        self.register_buffer("pushed", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("frequency", torch.zeros(classes))

    def regions(self, feature: Tensor) -> Tensor:
        """Feature (B, C, *S') -> directions (B, N, C) of its N regions."""
        return F.normalize(self.project(feature).float().flatten(2).transpose(1, 2), dim=-1)

    def shares(self, label: Tensor, valid: Tensor, like: Tensor) -> Tensor:
        """Of labels (B, *S) where they are valid: the share of each class in the regions of a feature, (B, N, K).

        A region at the far border may reach beyond the image; what is outside belongs to no class.
        """
        classes = (one_hot(label, self.classes).movedim(-1, 1) * valid.unsqueeze(1)).float()
        # halving rounds up, so a region's side is the power of two at or above the quotient
        sides = [2 ** math.ceil(math.log2(n / m)) for n, m in zip(classes.shape[2:], like.shape[2:], strict=True)]
        missing = [m * side - n for n, m, side in zip(classes.shape[2:], like.shape[2:], sides, strict=True)]
        padded = F.pad(classes, [end for n in reversed(missing) for end in (0, n)])
        pool = F.avg_pool2d if classes.ndim == 4 else F.avg_pool3d
        return pool(padded, sides).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def remember(self, regions: Tensor, truth: Tensor, found: Tensor) -> None:
        """Take in each patch's mean direction of every class, from pure regions that were predicted rightly; under
        torchrun those of all processes.

        regions (B, N, C); truth, found (B, N, K): shares of the true and of the predicted classes.
        """
        regions = regions.float()
        right = truth.argmax(-1) == found.argmax(-1)
        told = (truth >= PURE) & right.unsqueeze(-1)
        with torch.autocast(regions.device.type, enabled=False):
            means = F.normalize(torch.einsum("bnk,bnc->bkc", told.float(), regions), dim=-1)
        kinds = torch.arange(self.classes, device=regions.device)
        for row, seen in zip(all_rows(means), all_rows(told.any(1)), strict=True):
            place = self.pushed % self.memory.shape[1]
            self.memory[kinds, place] = torch.where(seen.unsqueeze(-1), row, self.memory[kinds, place])
            self.pushed += seen
        present = all_sum(truth.sum((0, 1)))
        present /= present.sum().clamp(min=1e-6)
        known = self.frequency.any()
        self.frequency.copy_(torch.where(known, self.frequency.lerp(present, 0.01), present))

    def loss(self, regions: Tensor, valid: Tensor) -> Tensor:
        """InfoNCE of each class with its most and least similar regions; 0 while no class is known.

        regions (B, N, C) of unlabelled patches; valid (B, N) bool.
        """
        flat, counted = regions.flatten(0, 1), valid.flatten()
        half = max(1, len(flat) // 2)
        with torch.autocast(flat.device.type, enabled=False):  # a contrast at temperature 0.1 needs its digits
            similarity = F.normalize(self.memory.sum(1), dim=-1) @ flat.float().T  # (K, regions)
        most = min(MOST, half)
        out = torch.full_like(similarity, torch.inf)
        near = torch.where(counted, similarity, -out).topk(most, dim=1).values
        far = torch.where(counted, similarity, out).topk(most, dim=1, largest=False).values
        claimed = (CLAIMED * counted.sum() * self.frequency).floor().clamp(FEWEST, MOST).clamp(max=most)
        taken = (torch.arange(most, device=flat.device) < claimed.unsqueeze(1)) & near.isfinite()
        pushed_away = torch.where(far.isfinite(), far / self.temperature, -torch.inf).logsumexp(1, keepdim=True)
        near = torch.where(taken, near, 0.0) / self.temperature
        contrast = torch.logaddexp(near, pushed_away) - near
        per_class = torch.where(taken, contrast, 0.0).sum(1) / taken.sum(1).clamp(min=1)
        known = (self.pushed >= FILLED) & taken.any(1)
        return (per_class * known).sum() / known.sum().clamp(min=1)
