"""Wrong labels beside right ones, with features of the same images: what a calibrator learns from (Caudo-Diff, 2.8).

Right labels exist of labelled and synthetic images alone, on which the segmenter hardly errs any more.  So errors come
from its earlier states, with dropout, on images corrupted beyond anything it trains on; from damage by hand; and some
labels are right, to be left alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fewmask.methods.caudo_diff_settings import Calibrator
from fewmask.methods.damage import corrupted, damaged, softened
from fewmask.methods.matching import PairMatching
from fewmask.methods.snapshots import Snapshots, doubting
from fewmask.methods.synthesis import Sample
from fewmask.nets.guide import features_of

FEATURES_DROPPED = 0.3
"""Of the features beside a label damaged by hand: they did not make it, and are not to be relied on."""


class Pairs(NamedTuple):
    """p (B, K, *S): probabilities with errors; features: of the pass beside; label (B, *S), valid (B, *S) bool."""

    p: Tensor
    features: tuple[Tensor, ...]
    label: Tensor
    valid: Tensor


class PairSource(nn.Module):
    """Makes pairs of synthetic samples; keeps the segmenter's earlier states and what errors are like."""

    def __init__(self, segmenter: nn.Module, snapshots: int, halvings: int) -> None:
        super().__init__()
        self.snapshots = Snapshots(segmenter, snapshots)
        self.matching = PairMatching(halvings)
        self.halvings = halvings

    @torch.no_grad()
    def make(
        self,
        settings: Calibrator,
        made: Sample,
        background: Tensor,
        labeller: nn.Module,
        said: Tensor,
        generator: torch.Generator,
    ) -> Pairs:
        """One pair of each synthetic sample, then drawn again so that their errors are like those of unlabelled images.

        background (B', C, *S): unlabelled images; labeller: the segmenter as it is now; said (B', K, *S): its
        probabilities of them.
        """
        rows, classes = len(made.label), said.shape[1]
        erring, right = round(settings.network_errors * rows), round(settings.unchanged * rows)
        network = self.snapshots.draw(labeller, generator).eval()
        doubting(network, True)
        others = background[torch.arange(erring, device=background.device) % len(background)]
        logits, erred = features_of(network, corrupted(made.image[:erring], others, generator), self.halvings)
        doubting(network, False)
        _, clean = features_of(labeller, made.image[erring:], self.halvings)
        level = torch.rand(rows - erring, device=made.label.device, generator=generator)
        level[max(0, len(level) - right) :] = 0
        spoilt = damaged(made.label[erring:], classes, level, generator)
        p = torch.cat([logits.float().softmax(1), softened(spoilt, classes, generator)])
        features = tuple(
            torch.cat([one, other * _kept(other, generator)]) for one, other in zip(erred, clean, strict=True)
        )
        if not settings.matching:
            return Pairs(p, features, made.label, made.valid)
        weights = self.matching.weights(p, said)
        drawn = torch.multinomial(weights, rows, replacement=True, generator=generator)
        return Pairs(p[drawn], tuple(one[drawn] for one in features), made.label[drawn], made.valid[drawn])


def _kept(feature: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1, *Z) bool: which cells of a feature stay."""
    return torch.rand(feature[:, :1].shape, device=feature.device, generator=generator) > FEATURES_DROPPED
