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
    means = _mean_of_means(sums[whole], counts[whole])
    low, high = percentile_interval(means, level) or (None, None)
    return Interval(mean=mean, low=low, high=high)


def class_mean(values: np.ndarray | Sequence) -> float | None:
    """Mean over cases, then over classes, of values (N,) or (N, K); NaN is left out; None where nothing is left."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    if not known.any():
        return None
    values, known = values.reshape(1, len(values), -1), known.reshape(1, len(values), -1)
    return float(_mean_of_means(np.where(known, values, 0.0).sum(1), known.sum(1))[0])


def _mean_of_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows of sums and counts (R, K) -> the mean over those columns that have a count, (R,); NaN where none has."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    columns = (counts > 0).sum(1)
    return np.divide(means.sum(1), columns, out=np.full(len(sums), np.nan), where=columns > 0)


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


def rank_biserial(first: np.ndarray | Sequence, second: np.ndarray | Sequence) -> float | None:
    """Effect size of the signed-rank test in [-1, 1]: 1 where every pair grows from first to second (Kerby 2014).

    Its sign is the direction of which `paired_wilcoxon` gives the p.  NaN in either: the pair is left out; None where
    nothing is left.
    """
    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    ranks = stats.rankdata(abs(differences)) * (differences != 0)
    return float((ranks * np.sign(differences)).sum() / max(ranks.sum(), 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; None (no test) stays None and does not count."""
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        adjusted[position] = highest
    return adjusted


@dataclass(frozen=True)
class Draws:
    """Resamples of groups and of repeats (runs), shared by everything that is to be compared.

    groups (R, G) and repeats (R, S): how often each is in a resample.
    """

    groups: np.ndarray
    repeats: np.ndarray


def draw(groups: int, repeats: Sequence[Hashable], *, seed: int = 0, resamples: int = 5000) -> Draws:
    """Groups and repeats drawn with replacement, each by itself: the two kinds of luck are crossed, not nested.

    repeats: a name for each of S repeats; those of one name, such as the seeds of an exemplar, are drawn together.
    """
    of_groups, of_repeats = generator(seed, "bootstrap"), generator(seed, "bootstrap repeats")
    index = {name: column for column, name in enumerate(dict.fromkeys(repeats))}
    drawn = of_repeats.multinomial(len(index), np.full(len(index), 1 / len(index)), size=resamples)
    return Draws(
        of_groups.multinomial(groups, np.full(groups, 1 / groups), size=resamples),
        drawn[:, [index[name] for name in repeats]],
    )


def repeated_mean(values: np.ndarray) -> float | None:
    """Mean over cases, then classes, then repeats of values (S, N, K); NaN is left out; None where nothing is left."""
    means = [mean for repeat in values if (mean := class_mean(repeat)) is not None]
    return float(np.mean(means)) if means else None


def resampled_means(values: np.ndarray, groups: Sequence[Hashable], draws: Draws) -> np.ndarray:
    """`repeated_mean` of each resample, (R,).  values (S, N, K), NaN: left out; groups: one name for each of N rows.

    NaN where a resample has no value of a class that a drawn repeat has: it would be a mean of something else.
    """
    index = {name: row for row, name in enumerate(dict.fromkeys(groups))}
    rows = np.array([index[name] for name in groups])
    total = np.zeros(len(draws.groups))
    for repeat, times in zip(values, draws.repeats.T, strict=True):
        known = ~np.isnan(repeat)
        sums, counts = np.zeros((2, len(index), repeat.shape[1]))
        np.add.at(sums, rows, np.where(known, repeat, 0.0))
        np.add.at(counts, rows, known)
        counts = draws.groups @ counts
        whole = (counts[:, known.any(axis=0)] > 0).all(axis=1)
        means = _mean_of_means(draws.groups @ sums, counts)
        total += np.where(times > 0, times * np.where(whole, means, np.nan), 0.0)
    return total / draws.repeats.sum(axis=1)


def percentile_interval(means: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) of resampled means, NaN left out; None where too few are left."""
    means = means[~np.isnan(means)]
    if len(means) < LEAST_RESAMPLES:
        return None
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) of the mean by Student's t; None of fewer than two values.

    For the handful of repeats, beyond whose least and largest no resample of them can reach.
    """
    if len(values) < 2:
        return None
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * error)
    return float(mean) - reach, float(mean) + reach


def aurc(trust: np.ndarray | Sequence, dice: np.ndarray | Sequence) -> float:
    """Area under the risk-coverage curve in [0, 1], lower is better: mean over n of the risk of the n most trusted.

    The risk is 1 - Dice (Zenk et al., MedIA 2025, arXiv:2406.03323, section 3.3).  Ties count with their mean risk, so
    that constant trust gives that of a random order: the mean risk.
    """
    trust, risk = np.asarray(trust, dtype=float), 1 - np.asarray(dice, dtype=float)
    _, place = np.unique(-trust, return_inverse=True)
    tied = np.bincount(place, risk) / np.bincount(place)
    ordered = tied[np.sort(place)]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())
