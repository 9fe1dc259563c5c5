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

SOURCES = 4
"""Earlier states, at most, that the errors of a step come from."""
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

    def __init__(self, segmenter: nn.Module, snapshots: int, halvings: int, latest: int | None = None) -> None:
        """snapshots: how many are kept; latest: how many of them err."""
        super().__init__()
        self.snapshots = Snapshots(segmenter, snapshots, latest)
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
        wanted: int,
        generator: torch.Generator,
    ) -> Pairs:
        """A pair of each synthetic sample; `wanted` of them are drawn, so that errors are like those of unlabelled
        images.

        background (B', C, *S): unlabelled images; labeller: the segmenter as it is now; said (B', K, *S): its
        probabilities of them.
        """
        rows = len(made.label)
        erring, right = _shares((settings.network_errors, settings.unchanged), rows, generator)
        first, others = (Sample(*(one[part] for one in made)) for part in (slice(0, erring), slice(erring, rows)))
        parts = []
        if erring:
            parts.append(self._erring(first, background, labeller, generator))
        if erring < rows:
            parts.append(self._damaged(others, right, labeller, said.shape[1], generator))
        p = torch.cat([one for one, _ in parts])
        features = tuple(torch.cat(level) for level in zip(*(taps for _, taps in parts), strict=True))
        weights = self.matching.weights(p, said) if settings.matching else torch.ones(rows, device=p.device)
        drawn = torch.multinomial(weights, min(wanted, rows), generator=generator)
        return Pairs(p[drawn], tuple(one[drawn] for one in features), made.label[drawn], made.valid[drawn])

    def _erring(
        self, made: Sample, background: Tensor, labeller: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What earlier states of the segmenter say of corrupted images, with dropout, and their features."""
        rows = torch.arange(len(made.label), device=background.device) % len(background)
        image = corrupted(made.image, background[rows], generator)
        said, taps = [], []
        for part in image.chunk(SOURCES):
            network = self.snapshots.draw(labeller, generator).eval()
            with dropping(network):
                logits, features = features_of(network, part, self.halvings)
            said.append(logits.float().softmax(1))
            taps.append(features)
        return torch.cat(said), tuple(torch.cat(level) for level in zip(*taps, strict=True))

    def _damaged(
        self, made: Sample, right: int, labeller: nn.Module, classes: int, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Labels damaged by hand, the last `right` not at all, and the segmenter's features, some of them dropped."""
        level = torch.rand(len(made.label), device=made.label.device, generator=generator)
        level[len(level) - right :] = 0
        spoilt = damaged(made.label, classes, level, generator)
        _, features = features_of(labeller, made.image, self.halvings)
        return softened(spoilt, classes, generator), tuple(one * _kept(one, generator) for one in features)


def _shares(shares: tuple[float, float], rows: int, generator: torch.Generator) -> tuple[int, int]:
    """How many of `rows` are of each share, each row drawn by itself: of few rows a rounded share would be none."""
    draw = torch.rand(rows, device=generator.device, generator=generator)
    first, second = shares
    return int((draw < first).sum()), int(((draw >= first) & (draw < first + second)).sum())


def _kept(feature: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1, *Z) bool: which cells of a feature stay."""
    return torch.rand(feature[:, :1].shape, device=feature.device, generator=generator) > FEATURES_DROPPED
