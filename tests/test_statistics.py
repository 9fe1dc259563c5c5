"""Means, intervals and tests over groups, against scipy and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fewmask.statistics import (
    aurc,
    bootstrap_interval,
    class_mean,
    draw,
    group_means,
    holm,
    paired_wilcoxon,
    percentile_interval,
    rank_biserial,
    repeated_mean,
    resampled_means,
    t_interval,
)


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


def test_rank_biserial_is_the_difference_of_rank_sums():
    """Differences -1, 2, 3, 4: ranks 1 against 2 + 3 + 4."""
    assert rank_biserial([0, 0, 0, 0, np.nan], [-1, 2, 3, 4, 9]) == pytest.approx((9 - 1) / 10)
    assert rank_biserial([1, 2], [0, 1]) == -1
    assert rank_biserial([1, 2], [1, 2]) == 0
    assert rank_biserial([np.nan], [1]) is None


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


def naive_mean(values: np.ndarray) -> float:
    """Over cases, then classes, then repeats, in loops."""
    of_repeats = []
    for repeat in values:
        of_classes = [np.mean(column[~np.isnan(column)]) for column in repeat.T if not np.isnan(column).all()]
        of_repeats.append(np.mean(of_classes))
    return float(np.mean(of_repeats))


def test_resampled_means_are_means_of_the_drawn_rows_and_repeats():
    chance = np.random.default_rng(0)
    values = chance.random((3, 6, 2))
    values[chance.random(values.shape) < 0.1] = np.nan
    patients = ["a", "a", "b", "c", "c", "d"]
    draws = draw(4, range(3), resamples=50)
    assert draws.groups.sum(1).tolist() == [4] * 50 and draws.repeats.sum(1).tolist() == [3] * 50
    found = resampled_means(values, patients, draws)
    assert repeated_mean(values) == pytest.approx(naive_mean(values))
    compared = 0
    for mean, groups, repeats in zip(found, draws.groups, draws.repeats, strict=True):
        rows = [row for row, patient in enumerate(patients) for _ in range(groups["abcd".index(patient)])]
        drawn = [values[repeat][rows] for repeat in range(3) for _ in range(repeats[repeat])]
        if not any(np.isnan(repeat).all(axis=0).any() for repeat in drawn):
            assert mean == pytest.approx(naive_mean(np.stack(drawn)))
            compared += 1
        else:
            assert np.isnan(mean)
    assert compared > 20


def test_with_one_repeat_the_interval_is_that_over_groups():
    values = np.random.default_rng(1).random((8, 3))
    patients = ["a", "a", "b", "c", "d", "e", "f", "f"]
    interval = bootstrap_interval(values, patients)
    found = percentile_interval(resampled_means(values[None], patients, draw(6, range(1))))
    assert found == pytest.approx((interval.low, interval.high))


def test_repeats_widen_the_interval_where_they_differ():
    patients = np.random.default_rng(2).normal(0.7, 0.02, (12, 1))
    alike, apart = np.stack([patients] * 3), np.stack([patients - 0.1, patients, patients + 0.1])
    widths = []
    for values in (alike, apart):
        low, high = percentile_interval(resampled_means(values, range(12), draw(12, range(3))))
        widths.append(high - low)
    assert widths[1] > 4 * widths[0]


def test_repeats_of_one_name_are_drawn_together():
    """Three seeds of each of three exemplars say no more of exemplars than one seed of each."""
    patients = np.random.default_rng(2).normal(0.7, 0.02, (12, 1))
    exemplars = np.stack([patients - 0.1, patients, patients + 0.1])
    draws = draw(12, "aaabbbccc")
    assert (draws.repeats.reshape(-1, 3, 3) == draws.repeats[:, ::3, None]).all()
    nine = percentile_interval(resampled_means(np.repeat(exemplars, 3, axis=0), range(12), draws))
    three = percentile_interval(resampled_means(exemplars, range(12), draw(12, "abc")))
    apart = percentile_interval(resampled_means(np.repeat(exemplars, 3, axis=0), range(12), draw(12, range(9))))
    assert nine == pytest.approx(three)
    assert apart[1] - apart[0] < 0.7 * (nine[1] - nine[0])


def test_nothing_to_average_is_no_mean_and_no_interval():
    nothing = np.full((2, 3, 1), np.nan)
    assert repeated_mean(nothing) is None
    assert percentile_interval(resampled_means(nothing, "abc", draw(3, range(2)))) is None


def test_the_interval_of_a_few_is_students():
    values = [0.015, 0.023, 0.025]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)
    assert t_interval([0.5]) is None


def test_aurc_is_the_naive_mean_and_the_best_order_has_the_least():
    dice = np.array([0.9, 0.2, 0.6, 0.8])
    trust = np.array([0.5, 0.4, 0.3, 0.9])
    risks = [0.2, (0.2 + 0.1) / 2, (0.2 + 0.1 + 0.8) / 3, (0.2 + 0.1 + 0.8 + 0.4) / 4]
    assert aurc(trust, dice) == pytest.approx(np.mean(risks))
    orders = [aurc(np.random.default_rng(seed).permutation(4), dice) for seed in range(20)]
    assert aurc(dice, dice) <= min(orders)


def test_aurc_of_constant_trust_is_the_mean_risk():
    dice = np.array([0.9, 0.2, 0.6])
    assert aurc(np.zeros(3), dice) == pytest.approx((1 - dice).mean())
