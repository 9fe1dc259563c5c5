"""Intensity normalisation: one function for training, validation and prediction.

Kinds: `zscore` (per case), `percentile` (per case, clipped), `ct` (one window for all, from labelled foreground) and
`rgb` (one mean and deviation per colour for all).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewmask.errors import DataError

KINDS = ("zscore", "ct", "percentile", "rgb")

Statistics = dict[str, Any]
"""JSON per case: mean, std, low, high (0.5 % and 99.5 %), clipped_mean, clipped_std; each a list over channels."""
Fingerprint = dict[str, Any]
"""JSON per training set: kind and, for `ct` and `rgb`, low, high, mean, std; each a list over channels."""

LOW, HIGH = 0.5, 99.5
"""Percentiles of the clips: nnU-Net's."""
FURTHEST = 10.0
"""z-scores beyond are clipped: single hot voxels (implants, spikes) would drown a case's contrast in bf16 and blur."""
SAMPLES = 2_000_000
"""Voxels from which percentiles are taken; a larger image is read at a fixed stride."""
LEVELS = 401
"""Quantile levels kept of labelled foreground, to pool percentiles over cases."""


def case_statistics(image: np.ndarray) -> Statistics:
    """Statistics of one image (C, D, H, W), per channel, in the unit of the image."""
    keys = ("mean", "std", "low", "high", "clipped_mean", "clipped_std")
    found: Statistics = {key: [] for key in keys}
    for channel in image:
        low, high = np.percentile(_sample(channel), (LOW, HIGH))
        mean, std = _moments(channel)
        clipped_mean, clipped_std = _moments(channel, low, high)
        for key, value in zip(keys, (mean, std, low, high, clipped_mean, clipped_std), strict=True):
            found[key].append(float(value))
    return found


def foreground_statistics(image: np.ndarray, foreground: np.ndarray) -> Statistics:
    """Quantiles and moments per channel of the voxels of image (C, D, H, W) where foreground (D, H, W) is true.

    An empty foreground gives empty lists.
    """
    found: Statistics = {"mean": [], "std": [], "quantiles": []}
    if not foreground.any():
        return found
    for channel in image:
        values = channel[foreground].astype(np.float64)
        found["mean"].append(float(values.mean()))
        found["std"].append(float(values.std()))
        found["quantiles"].append(np.quantile(_sample(values), np.linspace(0, 1, LEVELS)).tolist())
    return found


def fit_fingerprint(kind: str, cases: Sequence[Statistics], foregrounds: Sequence[Statistics] = ()) -> Fingerprint:
    """What `kind` must know of the training images beyond the case at hand.

    cases: `case_statistics` of the training images; foregrounds: `foreground_statistics` of those with a label, which
    `ct` needs.  Each case counts alike, whatever its size.
    """
    if kind == "rgb":
        mean, std = _pooled(cases)
        return {"kind": kind, "mean": mean.tolist(), "std": std.tolist()}
    if kind == "ct":
        found = [statistics for statistics in foregrounds if statistics["mean"]]
        if not found:
            raise DataError("intensity ct: no labelled case has foreground to fit on; use plan.intensity=percentile")
        mean, std = _pooled(found)
        quantiles = np.concatenate([np.asarray(statistics["quantiles"]) for statistics in found], axis=1)
        low, high = np.percentile(quantiles, (LOW, HIGH), axis=1)
        return {"kind": kind, "low": low.tolist(), "high": high.tolist(), "mean": mean.tolist(), "std": std.tolist()}
    return {"kind": kind}


def normalise(image: np.ndarray, kind: str, statistics: Statistics, fingerprint: Fingerprint) -> np.ndarray:
    """image (C, ...) in the unit of its statistics -> float32 of about zero mean and unit deviation.

    The image may be any crop of the case that the statistics belong to.
    """
    if kind == "zscore":
        result = _standardised(image, statistics["mean"], statistics["std"])
        return np.clip(result, -FURTHEST, FURTHEST, out=result)
    if kind == "percentile":
        clipped = np.clip(image, _column(statistics["low"], image), _column(statistics["high"], image))
        return _standardised(clipped, statistics["clipped_mean"], statistics["clipped_std"])
    if kind == "ct":
        clipped = np.clip(image, _column(fingerprint["low"], image), _column(fingerprint["high"], image))
        return _standardised(clipped, fingerprint["mean"], fingerprint["std"])
    if kind == "rgb":
        return _standardised(image, fingerprint["mean"], fingerprint["std"])
    raise ValueError(f"intensity '{kind}'; known: {', '.join(KINDS)}")


def _standardised(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(image - mean) / std per channel; a constant channel gives zeros."""
    centre, deviation = np.asarray(mean), np.asarray(std)
    deviation = np.where(deviation > 1e-6 * np.maximum(np.abs(centre), 1e-6), deviation, 1.0)
    return (image.astype(np.float32, copy=False) - _column(centre, image)) / _column(deviation, image)


def _column(values: Sequence[float], image: np.ndarray) -> np.ndarray:
    """Per-channel values shaped to broadcast against image (C, ...)."""
    return np.asarray(values, dtype=np.float32).reshape(-1, *[1] * (image.ndim - 1))


def _sample(values: np.ndarray) -> np.ndarray:
    """About SAMPLES values at a fixed stride, all if there are fewer."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLES)]


def _moments(channel: np.ndarray, low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """Mean and deviation of a channel (D, H, W), clipped if bounds are given; slice by slice, for memory."""
    total = squares = 0.0
    centre = float(channel.flat[0])
    if low is not None:
        centre = min(max(centre, low), high)
    for plane in channel:
        values = plane.astype(np.float64)
        if low is not None:
            np.clip(values, low, high, out=values)
        values -= centre  # against cancellation where the mean is far from zero
        total += values.sum()
        squares += np.square(values).sum()
    mean = total / channel.size
    return centre + mean, float(np.sqrt(max(squares / channel.size - mean**2, 0.0)))


def _pooled(statistics: Sequence[Statistics]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation per channel of the mixture of all cases with equal weight."""
    means = np.array([case["mean"] for case in statistics])
    variances = np.square([case["std"] for case in statistics])
    mean = means.mean(0)
    return mean, np.sqrt((variances + np.square(means - mean)).mean(0))
