"""Means, intervals and tests over groups, against scipy and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fewmask.statistics import bootstrap_interval, class_mean, group_means, holm, paired_wilcoxon


def test_the_mean_is_over_cases_then_classes():
    values = [[1.0, np.nan], [0.0, 0.8], [0.5, np.nan]]
    assert class_mean(values) == pytest.approx((0.5 + 0.8) / 2)
    assert bootstrap_interval(values).mean == pytest.approx(0.65)


def test_nothing_known_is_no_mean():
    for empty in ([], [np.nan, np.nan], np.empty((0, 3))):
        interval = bootstrap_interval(empty)
        assert interval.to_json() == {"mean": None, "low": None, "high": None}


def test_equal_values_have_no_spread():
    interval = bootstrap_interval([0.7] * 6)
    assert interval.low == pytest.approx(0.7)
    assert interval.high == pytest.approx(0.7)


def test_the_interval_is_scipys():
    values = np.random.default_rng(0).normal(0.8, 0.1, 30)
    interval = bootstrap_interval(values, resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert interval.low == pytest.approx(expected.low, abs=0.002)
    assert interval.high == pytest.approx(expected.high, abs=0.002)


def test_the_interval_covers_as_often_as_it_says():
    chance = np.random.default_rng(0)
    intervals = [bootstrap_interval(chance.normal(size=40), seed=run, resamples=500) for run in range(200)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.89 <= covered <= 0.98


def test_groups_are_drawn_whole():
    """Copies of a patient's case say nothing new: the interval is that of the patients."""
    patients = np.random.default_rng(0).random(8)
    copied, alone = bootstrap_interval(np.repeat(patients, 5), np.repeat(np.arange(8), 5)), bootstrap_interval(patients)
    assert copied.to_json() == pytest.approx(alone.to_json())
    taken_apart = bootstrap_interval(np.repeat(patients, 5))
    assert taken_apart.high - taken_apart.low < 0.6 * (copied.high - copied.low)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((9, 3))
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_too_few_groups_have_a_mean_but_no_interval():
    assert bootstrap_interval([0.5, 0.7], ["a", "a"]).to_json() == {"mean": 0.6, "low": None, "high": None}
    assert bootstrap_interval([0.5, 0.7, 0.9], minimum_groups=5).low is None
    unscored = bootstrap_interval([0.5, np.nan, np.nan], ["a", "b", "c"])
    assert (unscored.mean, unscored.low) == (0.5, None)


def test_a_resample_that_misses_a_class_is_a_mean_of_something_else_and_does_not_count():
    """A rare class that is never found: without it the mean would be 0.9, which no interval of 0.45 should reach."""
    values = np.full((6, 2), np.nan)
    values[:, 0] = 0.9
    values[0, 1] = 0.0
    interval = bootstrap_interval(values)
    assert interval.to_json() == pytest.approx({"mean": 0.45, "low": 0.45, "high": 0.45})


def test_too_many_rare_classes_leave_no_interval():
    values = np.diag(np.full(12, 0.5))
    values[values == 0] = np.nan
    assert bootstrap_interval(values).to_json() == {"mean": 0.5, "low": None, "high": None}


def test_group_means_leave_out_what_is_unknown():
    means = group_means([1.0, np.nan, 3.0, np.nan], ["b", "a", "b", "c"])
    np.testing.assert_array_equal(means, [2.0, np.nan, np.nan])


def test_wilcoxon_is_scipys():
    first, second = np.random.default_rng(0).random((2, 12))
    assert paired_wilcoxon(first, second) == pytest.approx(stats.wilcoxon(second - first).pvalue)
    assert paired_wilcoxon(first, first + np.linspace(0.1, 0.2, 12)) == pytest.approx(2 / 2**12)


def test_wilcoxon_is_over_groups():
    first, second = np.random.default_rng(0).random((2, 6))
    alone = paired_wilcoxon(first, second)
    repeated = paired_wilcoxon(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(6), 4))
    assert repeated == pytest.approx(alone)


def test_wilcoxon_says_nothing_of_few_pairs():
    assert paired_wilcoxon([0, 0, 0, 0], [1, 1, 1, 1]) is None
    assert paired_wilcoxon([0, 0, 0, 0, np.nan], [1, 1, 1, 1, 1]) is None
    assert paired_wilcoxon([0.5] * 6, [0.5] * 6) == 1.0


def test_wilcoxon_bears_ties_and_zeros():
    p = paired_wilcoxon([0.5] * 8, [0.5, 0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.4])
    assert 0 < p <= 1


def test_holm_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.5]) == pytest.approx([0.02, None, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
