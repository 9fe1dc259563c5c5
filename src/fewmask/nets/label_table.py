"""Label maps as latents: a learned direction for each class and one for `unknown` (DDP, Ji et al., ICCV 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelTable(nn.Module):
    """label (B, *S) int64 -> z0 (B, d, *S) = scale * (2 sigmoid(E[label]) - 1), within (-scale, scale).

    Where a label is not valid its latent is that of `unknown`, so that nothing leaks of what was rejected.
    """

    def __init__(self, classes: int, channels: int, scale: float) -> None:
        """scale: small ones let noise hide the label, so that a wrong one is not simply copied."""
        super().__init__()
        self.scale = scale
        self.rows = nn.Embedding(classes + 1, channels)

    def forward(self, label: Tensor, valid: Tensor | None = None) -> Tensor:
        unknown = self.rows.num_embeddings - 1
        index = label if valid is None else torch.where(valid, label, unknown)
        return self._bounded(self.rows(index)).movedim(-1, 1)

    def expected(self, p: Tensor) -> Tensor:
        """The mean latent (B, d, *S) under class probabilities (B, K, *S): it keeps what the network is unsure of."""
        with torch.autocast(p.device.type, enabled=False):
            return torch.einsum("bk...,kd->bd...", p.float(), self._bounded(self.rows.weight[:-1]))

    def distance(self, p: Tensor, label: Tensor) -> Tensor:
        """Squared distance (B, *S) of the mean latent under p from the label's, a channel, in units of the scale.

        The table is a constant in it, or it would shrink to nothing.
        """
        rows = (self._bounded(self.rows.weight[:-1]) / self.scale).detach()
        with torch.autocast(p.device.type, enabled=False):
            found = torch.einsum("bk...,kd->b...d", p.float(), rows)
        return (found - rows[label]).square().mean(-1)

    def directions(self) -> Tensor:
        """The classes' latents as unit vectors (K, d), without `unknown`."""
        return F.normalize(self._bounded(self.rows.weight[:-1]), dim=-1)

    def _bounded(self, rows: Tensor) -> Tensor:
        return self.scale * (2 * rows.float().sigmoid() - 1)
