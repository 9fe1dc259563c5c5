"""The complementary term of SSL4MIS's FixMatch, kept by DiffRect's released code; off unless asked for."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cross_entropy


def spatial_certainty(p: Tensor) -> Tensor:
    """Scalar in [0, 1]: 1 - H / log |S|, H the entropy over *voxels* of each class map of p (B, K, *S), mean of all.

    0 for uniform maps, 1 for a single voxel.
    """
    maps = p.flatten(2)
    maps = maps / maps.sum(-1, keepdim=True)
    entropy = -(maps * maps.clamp_min(1e-12).log()).sum(-1)
    return (1 - entropy / math.log(maps.shape[-1])).mean()


def complementary(strong: Tensor, weak: Tensor) -> Tensor:
    """a^2 CE(1 - strong, argmin weak) of probabilities (B, K, *S): what a class is not; a: certainty of `strong`.

    As released: 1 - p is taken for logits, and the gradient passes through a.
    """
    least = weak.detach().argmin(1)
    return spatial_certainty(strong) ** 2 * cross_entropy(1 - strong, least)
