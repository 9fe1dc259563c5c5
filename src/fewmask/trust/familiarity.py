"""What is usual among training images: the ranges beyond which a mask or an image is a reason for a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fewmask.trust.calibration import Bounds, ClassRange, Familiar, Unit
from fewmask.trust.evidence import ClassEvidence, Evidence

LEAST = 10
"""Training images under which nothing is called unusual."""
SPREADS = 4.0
"""Robust deviations of the logarithm of a class's volume within which it is usual."""
LEAST_SPREAD = 0.05
"""Of a number of `appearance`, and of the logarithm of a volume: training images that are all alike mean little."""
SHARE, MARGIN = 0.98, 1.25
"""An image is unlike training where it is further off than MARGIN times what SHARE of the training images stay in."""


def robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and deviation (1.4826 times the median distance from it) over the first axis."""
    centre = np.median(values, axis=0)
    return centre, np.maximum(1.4826 * np.median(np.abs(values - centre), axis=0), LEAST_SPREAD)


def familiar_images(images: Sequence[Mapping[str, float]]) -> Familiar | None:
    """What the numbers of `appearance` usually are; None with fewer images than LEAST."""
    if len(images) < LEAST:
        return None
    names = list(images[0])
    values = np.array([[image[name] for name in names] for image in images])
    centre, spread = robust(values)
    spread = np.maximum(spread, values.std(axis=0) / 2)  # two scanners: half the images lie at either
    furthest = (np.abs(values - centre) / spread).max(axis=1)
    return Familiar(
        centre=dict(zip(names, map(float, centre), strict=True)),
        spread=dict(zip(names, map(float, spread), strict=True)),
        most=float(MARGIN * np.quantile(furthest, SHARE)),
    )


def class_ranges(evidence: Sequence[Evidence], names: Sequence[str]) -> dict[str, ClassRange]:
    """What is usual for each class in predicted masks, where it was found in LEAST of them.  names: without background.

    Volumes are counted in ml where all have them, else in voxels.
    """
    found = {}
    for name in names:
        seen = [one.classes[name] for one in evidence if name in one.classes and one.classes[name].voxels]
        if len(seen) < LEAST:
            continue
        unit: Unit = "voxels" if any(one.volume_ml is None for one in seen) else "ml"
        centre, spread = robust(np.log([size_of(one, unit) for one in seen]))
        found[name] = ClassRange(
            size=Bounds(
                low=float(np.exp(centre - SPREADS * spread)),
                high=float(np.exp(centre + SPREADS * spread)),
            ),
            unit=unit,
            components=int(np.quantile([one.components for one in seen], SHARE, method="higher")),
            border=float(np.quantile([one.border for one in seen], SHARE, method="higher")),
        )
    return found


def size_of(one: ClassEvidence, unit: Unit) -> float | None:
    """How large a class is in `unit`; None where ml are asked and the image has no spacing."""
    return one.voxels if unit == "voxels" else one.volume_ml
