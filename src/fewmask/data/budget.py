"""Label budgets: which frames of sequences are labelled, and whether every class is shown by what is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np

from fewmask.data.cache import Cache
from fewmask.data.casetable import Catalogue
from fewmask.data.formats import encode_mask, read_mask
from fewmask.types import Case, Split


def spread(count: int) -> list[int]:
    """0 to count - 1, each next one as far as possible from those before: 0, the last, the middle, ...

    Any beginning of it lies evenly over the whole, and is part of every longer one.
    """
    order = [0] if count else []
    distance = np.abs(np.arange(count, dtype=np.int64))
    while len(order) < count:
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(np.arange(count) - order[-1]))
    return order


def frames_in_turn(sequences: Iterable[Sequence[Case]]) -> list[Case]:
    """The frames in the order in which they are labelled: the first of every sequence, then a second of each, ..."""
    ordered = [[sequence[place] for place in spread(len(sequence))] for sequence in sequences]
    return [frame for turn in zip_longest(*ordered) for frame in turn if frame is not None]


def labelled_voxels(catalogue: Catalogue, split: Split) -> dict[str, int] | None:
    """Foreground class -> labelled voxels in the masks as they are; None where only slices of a case are labelled."""
    if any(slices is not None for slices in split.labelled_slices.values()):
        return None
    labels = catalogue.labels
    counts = np.zeros(len(labels), np.int64)
    for case in map(catalogue.by_id.__getitem__, split.labelled_slices):
        raw, _ = read_mask(case.label, case.images[0], labels.colours)
        encoded = encode_mask(raw, labels, f"{case.id}: {case.label.name}")
        counts += np.bincount(encoded.ravel(), minlength=len(labels))[: len(labels)]
    return dict(zip(labels.names[1:], counts[1:].tolist(), strict=True))


def shown(cache: Cache, split: Split, names: Sequence[str]) -> dict[str, int]:
    """Foreground class -> labelled voxels of the prepared masks, counted as far as the cache keeps their places.

    names: all classes, background first.
    """
    counts = dict.fromkeys(names[1:], 0)
    for case in split.labelled_slices:
        for value, places in cache.open(case).locations.items():
            if value:
                counts[names[value]] += len(places)
    return counts
