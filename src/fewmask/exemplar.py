"""Which image to label if only one can be: the medoid, the one most like all others.  No mask is opened.

An image is described three ways: how it looks (slices of 16x16 at eight levels, standardised), how its intensities are
distributed (quantiles), how large it is (slices, sides, spacing).  Distances are relative to the collection's median,
so that the three count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.conform import prepare_image
from fewmask.errors import DataError
from fewmask.progress import track
from fewmask.types import Case, Split

SIDE, LEVELS = 16, 8
BLOCK = 2000
"""Rows whose distances to all others are held at once."""
QUANTILES = np.linspace(0.02, 0.98, 13)


@dataclass(frozen=True, kw_only=True)
class Described:
    """slices (D, C * SIDE * SIDE): standardised thumbnails; features: kind -> vector of the whole image."""

    slices: np.ndarray
    features: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The cases from the most to the least typical; distance 1: as far from the others as two images are usually.

    distances: case -> kind -> mean distance to all others, `mean` over the kinds; slices: case -> the slice most like
    all slices of the collection, 0-based on the first axis of the prepared array; None: it has one.
    """

    order: tuple[Case, ...]
    distances: Mapping[str, Mapping[str, float]]
    slices: Mapping[str, int | None]

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "case": case.id,
                "patient": case.patient,
                "slice": self.slices[case.id],
                "distance": self.distances[case.id],
                "mask": case.label is not None,
            }
            for case in self.order
        ]


def suggest(catalogue: Catalogue, split: Split | None = None, *, quiet: bool = False) -> Suggestion:
    """Order the images of a catalogue by how typical they are.

    split: only its labelled and unlabelled cases come into question, and only they are compared.  DataError where fewer
    than three images are left: then none is typical.
    """
    chosen = None if split is None else {*split.labelled_slices, *split.unlabelled}
    cases = [case for case in catalogue.cases if chosen is None or case.id in chosen]
    if len(cases) < 3:
        raise DataError(f"{catalogue.name}: {len(cases)} images to choose from; of fewer than 3 none is typical")
    described = [
        describe(case, len(catalogue.channels)) for case in track(cases, "suggest-exemplar", len(cases), quiet=quiet)
    ]
    kinds = list(described[0].features)
    apart = np.stack([relative(np.stack([one.features[kind] for one in described])) for kind in kinds])
    apart = np.concatenate([apart, apart.mean(0, keepdims=True)])  # (kinds + 1, N)
    order = np.argsort(apart[-1], kind="stable")
    typical = np.concatenate([one.slices for one in described]).mean(0)
    return Suggestion(
        order=tuple(cases[index] for index in order),
        distances={
            case.id: {kind: round(float(value), 4) for kind, value in zip([*kinds, "mean"], column, strict=True)}
            for case, column in zip(cases, apart.T, strict=True)
        },
        slices={
            case.id: None if len(one.slices) == 1 else int(np.square(one.slices - typical).sum(1).argmin())
            for case, one in zip(cases, described, strict=True)
        },
    )


def describe(case: Case, channels: int) -> Described:
    """What an image looks like, from the image alone."""
    image, grid = formats.read_case_image(case)
    try:
        small, _, _ = prepare_image(image, grid, Preparation(dims=2, size=(SIDE, SIDE), channels=channels))
    except DataError as error:
        raise DataError(f"{case.id}: {error}") from None
    image = image.astype(np.float32)
    mean, std = (moment((1, 2, 3), keepdims=True) for moment in (image.mean, image.std))
    standard = (small - mean) / np.maximum(std, 1e-6)
    slices = standard.transpose(1, 0, 2, 3).reshape(standard.shape[1], -1)
    levels = np.linspace(0, len(slices) - 1, LEVELS).round().astype(int)
    spacing = np.log(grid.spacing_mm) if grid.spacing_mm is not None else np.zeros(3)
    quantiles = np.quantile(image.reshape(len(image), -1)[:, :: max(1, image[0].size // 50_000)], QUANTILES, axis=1)
    spread = np.maximum(quantiles[-1] - quantiles[0], 1e-6)
    return Described(
        slices=slices,
        features={
            "look": slices[levels].ravel(),
            "intensities": ((quantiles - quantiles[0]) / spread).ravel(),
            "size": np.concatenate([np.log(grid.shape), spacing]),
        },
    )


def relative(features: np.ndarray) -> np.ndarray:
    """features (N, F) -> mean distance (N,) of each row to the others, in units of the median distance of two rows.

    In blocks, as all distances of 50,000 frames would not fit into memory; the median is over at most BLOCK rows.
    """
    some = features[:: -(-len(features) // BLOCK)]
    between = _apart(some, some)[np.triu_indices(len(some), 1)]
    unit = float(np.median(between)) or float(between.mean()) or 1.0
    blocks = [_apart(features[start : start + BLOCK], features).sum(1) for start in range(0, len(features), BLOCK)]
    return np.concatenate(blocks) / (len(features) - 1) / unit


def _apart(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    squares = np.square(rows).sum(1)[:, None] + np.square(others).sum(1)
    return np.sqrt(np.maximum(squares - 2 * rows @ others.T, 0))


def explain(found: Suggestion, count: int = 5) -> Sequence[str]:
    """Lines for people: what to label, and why."""
    best, last = found.order[0], found.order[-1]
    name = best.id if found.slices[best.id] is None else f"{best.id} (of its slices {found.slices[best.id]})"
    here, there = found.distances[best.id], found.distances[last.id]
    return [
        f"label {name}: of {len(found.order)} images it is the most like all others",
        f"its mean distance to them is {here['mean']:.2f} of that of two images ("
        + ", ".join(f"{kind} {value:.2f}" for kind, value in here.items() if kind != "mean")
        + f"); the least typical, {last.id}, has {there['mean']:.2f}",
        "next: "
        + ", ".join(f"{case.id} {found.distances[case.id]['mean']:.2f}" for case in found.order[1 : count + 1]),
        "masks were not looked at: see that it shows every structure you want, else take the next",
    ]
