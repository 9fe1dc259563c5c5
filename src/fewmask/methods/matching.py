"""Made label errors are drawn as often as errors of their kind occur, told without labels (Caudo-Diff, 2.8).

A label's kind is how doubtful it is within the gate and into how many pieces its classes fall.  Two histograms over
kinds, of unlabelled images and of made pairs, follow the network; their quotient is a pair's weight.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from fewmask.diffusion.calibration import relative_entropy, rule_gate
from fewmask.methods.pseudo import likeliest
from fewmask.nets.guide import pooled

DOUBTS, PIECES = 8, 4
"""Bins of the mean relative entropy, finer where it is low, and of the pieces beyond one a class: 0, 1, 2, more."""
MEMORY = 0.99
"""Share of a histogram that a batch leaves in place."""
MOST = 10.0
"""Weights stay within 1 / MOST .. MOST."""


class PairMatching(nn.Module):
    """Histograms of kinds, and weights that make pairs look like the unlabelled images."""

    wanted: Tensor
    made: Tensor

    def __init__(self, halvings: int) -> None:
        super().__init__()
        self.halvings = halvings
        for name in ("wanted", "made"):
            self.register_buffer(name, torch.full((DOUBTS * PIECES,), 1 / (DOUBTS * PIECES)))

    @torch.no_grad()
    def weights(self, pairs: Tensor, unlabelled: Tensor) -> Tensor:
        """Weight (B,) of pairs, mean about 1; both are probabilities (B, K, *S) and are taken into account."""
        kinds = self.kinds(pairs)
        self._follow(self.made, kinds)
        self._follow(self.wanted, self.kinds(unlabelled))
        return (self.wanted / self.made.clamp_min(1e-6))[kinds].clamp(1 / MOST, MOST)

    @torch.no_grad()
    def kinds(self, p: Tensor) -> Tensor:
        """(B,) int64 below DOUBTS * PIECES."""
        gate = rule_gate(p, self.halvings)
        doubt = pooled(relative_entropy(p), self.halvings)
        mean = (doubt * gate).flatten(1).sum(1) / gate.flatten(1).sum(1).clamp_min(1e-6)
        bins = (mean.clamp(0, 1).sqrt() * DOUBTS).long().clamp(max=DOUBTS - 1)
        return bins * PIECES + extra_pieces(likeliest(p), p.shape[1]).clamp(max=PIECES - 1)

    def _follow(self, histogram: Tensor, kinds: Tensor) -> None:
        seen = torch.bincount(kinds, minlength=len(histogram)).to(histogram.dtype) / len(kinds)
        histogram.lerp_(seen, 1 - MEMORY)


def extra_pieces(label: Tensor, classes: int) -> Tensor:
    """(B,) int64: connected pieces of the foreground classes of label (B, *S), beyond one for each that is there."""
    count = np.zeros(len(label), np.int64)
    for row, mask in enumerate(label.cpu().numpy()):
        for kind in range(1, classes):
            count[row] += max(0, ndimage.label(mask == kind)[1] - 1)
    return torch.from_numpy(count).to(label.device)
