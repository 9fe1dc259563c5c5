"""From a label and its calibration to what is learnt: fusion, weights, fall-back (Caudo-Diff's reconstruction, 2.9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from fewmask.config import Settings
from fewmask.deformation import affine, positions, sample
from fewmask.rows import per_row


class Trust(Settings):
    """When a calibrated label is believed; all label-free, all to be fixed before a test label is read."""

    agreement: float = Field(0.8, ge=0, le=1)
    """Least agreement over four views; below it the label stays as it was."""
    confidence: float = Field(0.95, ge=0, lt=1)
    """Least probability of the voxels that count where it stays as it was."""
    doubted: float = Field(0.3, ge=0, le=1)
    """Weight of these voxels."""
    born: float = Field(0.005, ge=0, le=1)
    """Share of the gate that a class must have had before calibration, else it is new."""
    birth: float = Field(0.9, ge=0, le=1)
    """Least agreement at which a new class is believed, beside one that was there."""


class Fused(NamedTuple):
    """p (B, K, *S): what the label's probabilities have become; weight (B, *S) in [0, 1]; agreement (B,) in [0, 1]."""

    p: Tensor
    weight: Tensor
    agreement: Tensor


def blend(p: Tensor, q: Tensor, share: float) -> Tensor:
    """Proportional to p^(1 - share) q^share, sums to one over K; p, q (B, K, *S)."""
    return ((1 - share) * p.clamp_min(1e-12).log() + share * q.clamp_min(1e-12).log()).softmax(1)


def fuse(p: Tensor, q: Tensor, gate: Tensor, agreement: Tensor, *, share: float, omega: float, trust: Trust) -> Fused:
    """What is learnt of probabilities p and their calibration q, both (B, K, *S); gate (B, 1, *Z'); agreement (B,).

    share: of q in their product.  Where the winners of p and q differ, whichever wins the product, the weight is omega
    times its probability.
    """
    blended = blend(p, q, share)
    raw, new = p.argmax(1), blended.argmax(1)
    within = interpolate(gate, size=p.shape[2:], mode="nearest").to(p.dtype)
    share = (within * p).flatten(2).sum(2) / within.flatten(2).sum(2).clamp_min(1e-6)
    there = share >= trust.born
    there[:, 0] = True
    may = there | ((agreement >= trust.birth) & there[:, 1:].any(1)).unsqueeze(1)
    kept = may.gather(1, new.flatten(1)).view_as(new) | (new == raw)
    blended = torch.where(kept.unsqueeze(1), blended, p)
    agrees = q.argmax(1) == raw
    weight = torch.where(agrees, 1.0, omega * blended.amax(1)) * per_row(agreement, raw)
    doubted = per_row(agreement < trust.agreement, raw)
    sure = trust.doubted * (p.amax(1) >= trust.confidence)
    return Fused(
        torch.where(doubted.unsqueeze(1), p, blended),
        torch.where(doubted, sure, weight),
        agreement,
    )


def agreement(label_of: Callable[[Tensor], Tensor], image: Tensor, label: Tensor, classes: int) -> Tensor:
    """Mean Dice (B,) between the labels of four views of image (B, C, *S); label: of the image itself.

    The views: as it is, turned by 10 degrees in the last two axes, shifted by 8 / 256, gamma 1.3.  What a view does not
    show is not compared.
    """
    size = image.shape[2:]
    rows, rank, device = len(image), len(size), image.device
    angle, still = math.radians(10), torch.eye(rank, device=device)
    turn = still.clone()
    turn[-2:, -2:] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    step = torch.tensor([float(max(1, round(side / 32))) for side in size], device=device)  # whole, or nearest tears
    step[-1] *= -1
    nowhere = torch.zeros_like(step)
    labels, seen = [label], [torch.ones_like(label, dtype=torch.bool)]
    here = positions(size, device)
    for matrix, shift, inverse, back in ((turn, nowhere, turn.T, nowhere), (still, step, still, -step)):
        there, again = (
            here + affine(m.expand(rows, -1, -1), s.expand(rows, -1), size)
            for m, s in ((matrix, shift), (inverse, back))
        )
        found = label_of(sample(image, there)).unsqueeze(1).float()
        found = torch.cat([found, torch.ones_like(found)], 1)
        found = sample(found, again, mode="nearest", padding="zeros")
        labels.append(found[:, 0].round().long())
        seen.append(found[:, 1] > 0.5)
    axes = tuple(range(2, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    span = (high - low).clamp_min(1e-6)
    labels.append(label_of(low + span * ((image - low) / span) ** 1.3))
    seen.append(seen[0])
    pairs = [
        overlap(a, b, known & also, classes)
        for (a, known), (b, also) in combinations(list(zip(labels, seen, strict=True)), 2)
    ]
    return torch.stack(pairs).mean(0)


def overlap(one: Tensor, other: Tensor, valid: Tensor, classes: int) -> Tensor:
    """Dice (B,) of labels (B, *S), mean over the foreground classes that either has; 1 where neither has any."""
    a, b = ((one_hot(x, classes) * valid.unsqueeze(-1)).flatten(1, -2)[..., 1:] for x in (one, other))
    sizes = (a + b).sum(1)
    dice = 2 * (a * b).sum(1) / sizes.clamp_min(1)
    present = sizes > 0
    mean = (dice * present).sum(1) / present.sum(1).clamp_min(1)
    return torch.where(present.any(1), mean, 1.0)
