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
from fewmask.methods.snapshots import Snapshots
from fewmask.methods.synthesis import Sample
from fewmask.nets.dropout import dropping
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
        rows = len(made.label)
        erring = round(settings.network_errors * rows)
        first, others = (Sample(*(one[part] for one in made)) for part in (slice(0, erring), slice(erring, rows)))
        parts = []
        if erring:
            parts.append(self._erring(first, background, labeller, generator))
        if erring < rows:
            right = min(round(settings.unchanged * rows), rows - erring)
            parts.append(self._damaged(others, right, labeller, said.shape[1], generator))
        p = torch.cat([one for one, _ in parts])
        features = tuple(torch.cat(level) for level in zip(*(taps for _, taps in parts), strict=True))
        if not settings.matching:
            return Pairs(p, features, made.label, made.valid)
        weights = self.matching.weights(p, said)
        drawn = torch.multinomial(weights, rows, replacement=True, generator=generator)
        return Pairs(p[drawn], tuple(one[drawn] for one in features), made.label[drawn], made.valid[drawn])

    def _erring(
        self, made: Sample, background: Tensor, labeller: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What an earlier state of the segmenter says of corrupted images, with dropout, and its features."""
        network = self.snapshots.draw(labeller, generator).eval()
        rows = torch.arange(len(made.label), device=background.device) % len(background)
        image = corrupted(made.image, background[rows], generator)
        with dropping(network):
            logits, features = features_of(network, image, self.halvings)
        return logits.float().softmax(1), features

    def _damaged(
        self, made: Sample, right: int, labeller: nn.Module, classes: int, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Labels damaged by hand, the last `right` not at all, and the segmenter's features, some of them dropped."""
        level = torch.rand(len(made.label), device=made.label.device, generator=generator)
        level[len(level) - right :] = 0
        spoilt = damaged(made.label, classes, level, generator)
        _, features = features_of(labeller, made.image, self.halvings)
        return softened(spoilt, classes, generator), tuple(one * _kept(one, generator) for one in features)


def _kept(feature: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1, *Z) bool: which cells of a feature stay."""
    return torch.rand(feature[:, :1].shape, device=feature.device, generator=generator) > FEATURES_DROPPED
