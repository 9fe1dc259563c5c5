"""Means with bootstrap intervals, paired tests and their correction; the unit is the group (patient, sequence)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fewmask.seeding import generator

LEAST_RESAMPLES = 100
"""Resamples from which percentiles may be read; fewer are left only where many classes are rare."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its interval.  mean is None without any value; low and high are None with too few groups."""

    mean: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


def bootstrap_interval(
    values: np.ndarray | Sequence,
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = 5000,
    level: float = 0.95,
    minimum_groups: int = 2,
) -> Interval:
    """Mean over cases, then over classes, with a percentile bootstrap interval over groups.

    values (N,) or (N, K), NaN: left out; groups: one name per row, None: each row is its own.  A resample that draws no
    value of a class is a mean of something else and is left out; a class that one group alone has is so in a third.
    """
    values = np.asarray(values, dtype=float)
    mean = class_mean(values)
    if mean is None:
        return Interval(mean=None, low=None, high=None)
    values = values.reshape(len(values), -1)
    known = ~np.isnan(values)
    groups = list(range(len(values))) if groups is None else list(groups)
    index = {name: row for row, name in enumerate(dict.fromkeys(groups))}
    rows = np.array([index[name] for name in groups])
    sums, counts = np.zeros((2, len(index), values.shape[1]))
    np.add.at(sums, rows, np.where(known, values, 0.0))
    np.add.at(counts, rows, known)

    scored = counts.any(axis=1)
    if scored.sum() < max(minimum_groups, 2):
        return Interval(mean=mean, low=None, high=None)
    sums, counts = sums[scored], counts[scored]
    chance = generator(seed, "bootstrap")
    drawn = chance.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    sums, counts = drawn @ sums, drawn @ counts
    whole = (counts[:, known.any(axis=0)] > 0).all(axis=1)
    if whole.sum() < LEAST_RESAMPLES:
        return Interval(mean=mean, low=None, high=None)
    means = _mean_of_means(sums[whole], counts[whole])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=mean, low=float(low), high=float(high))


def class_mean(values: np.ndarray | Sequence) -> float | None:
    """Mean over cases, then over classes, of values (N,) or (N, K); NaN is left out; None where nothing is left."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    if not known.any():
        return None
    values, known = values.reshape(1, len(values), -1), known.reshape(1, len(values), -1)
    return float(_mean_of_means(np.where(known, values, 0.0).sum(1), known.sum(1))[0])


def _mean_of_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows of sums and counts (R, K) -> the mean over those columns that have a count, (R,)."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return means.sum(1) / (counts > 0).sum(1)


def group_means(values: np.ndarray | Sequence, groups: Sequence[Hashable]) -> np.ndarray:
    """Mean of the known values of each group, in order of first appearance; NaN for a group without any."""
    values = np.asarray(values, dtype=float)
    by_group: dict[Hashable, list[float]] = {}
    for value, name in zip(values, groups, strict=True):
        by_group.setdefault(name, [])
        if not np.isnan(value):
            by_group[name].append(value)
    return np.array([np.mean(known) if known else np.nan for known in by_group.values()])


def paired_wilcoxon(
    first: np.ndarray | Sequence,
    second: np.ndarray | Sequence,
    groups: Sequence[Hashable] | None = None,
    *,
    minimum_groups: int = 5,
) -> float | None:
    """Two-sided p of the Wilcoxon signed-rank test on the groups' mean differences second - first.

    NaN in either: the pair is left out.  None with fewer than `minimum_groups` groups; 1 where nothing differs.
    """
    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    differences = group_means(differences, range(len(differences)) if groups is None else groups)
    differences = differences[~np.isnan(differences)]
    if len(differences) < minimum_groups:
        return None
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; None (no test) stays None and does not count."""
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        adjusted[position] = highest
    return adjusted
