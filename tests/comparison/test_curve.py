"""The saturating curve on numbers whose curve is known, and on numbers that tell nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fewmask.comparison.curve import POWERS, fit, forecast, sentence

PATIENTS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
POWER = float(POWERS[45])


def test_a_power_law_is_found_again() -> None:
    truth = 0.9 - np.array([[0.4], [0.2]]) * PATIENTS**-POWER
    found = fit(PATIENTS, truth)
    np.testing.assert_allclose(found.ceiling, 0.9, atol=1e-9)
    np.testing.assert_allclose(found.drop, [0.4, 0.2], atol=1e-9)
    np.testing.assert_allclose(found.power, POWER)
    np.testing.assert_allclose(found.at(32.0), 0.9 - np.array([0.4, 0.2]) * 32**-POWER)


def test_no_grid_point_does_better() -> None:
    """Against a brute search over ceiling, drop and power."""
    dice = np.array([0.5, 0.62, 0.66, 0.74, 0.73])
    found = fit(PATIENTS, dice[None])
    least = sum((float(found.at(n)[0]) - y) ** 2 for n, y in zip(PATIENTS, dice, strict=True))
    for power in POWERS[::8]:
        for ceiling in np.linspace(0.6, 1, 21):
            for drop in np.linspace(0, 0.6, 31):
                assert least <= ((ceiling - drop * PATIENTS**-power - dice) ** 2).sum() + 1e-12


@pytest.mark.parametrize("dice", [[0.8, 0.7, 0.6, 0.6, 0.5], [0.99, 1.0, 1.0, 1.0, 1.0], [0.2, 0.5, 0.8, 0.95, 1.0]])
def test_more_masks_never_cost_and_never_bring_more_than_all(dice) -> None:
    found = fit(PATIENTS, np.array([dice]))
    assert found.drop[0] >= 0 and found.ceiling[0] <= 1
    assert np.all(np.diff([found.at(n)[0] for n in (1, 3, 9, 100)]) >= 0)


def test_precise_numbers_tell_what_twice_the_masks_bring() -> None:
    truth = 0.9 - 0.4 * PATIENTS**-POWER
    noise = np.random.default_rng(0).normal(0, 0.002, (500, 5))
    found = forecast(PATIENTS, truth, truth + noise)
    gain = 0.4 * (16**-POWER - 32**-POWER)
    assert found["known"] and found["to"] == 32
    assert found["gain"]["mean"] == pytest.approx(gain, abs=1e-9)
    assert found["gain"]["low"] < gain < found["gain"]["high"]
    told = sentence("fixmatch", found)
    assert told.startswith(f"fixmatch: 32 labelled patients instead of 16 would bring {100 * gain:+.1f} Dice [")


def test_wild_numbers_are_said_to_tell_nothing() -> None:
    dice = np.array([0.3, 0.5, 0.62])
    noise = np.random.default_rng(0).normal(0, 0.15, (500, 3))
    found = forecast(PATIENTS[:3], dice, dice + noise)
    assert not found["known"]
    assert "the data do not tell what 8 labelled patients instead of 4 would bring" in sentence("bcp", found)


@pytest.mark.parametrize("dice", [[0.8, 0.7, 0.6], [0.3, 0.3, 0.6]])
def test_numbers_that_follow_no_such_curve_are_said_to_tell_nothing(dice) -> None:
    dice = np.array(dice)
    found = forecast(PATIENTS[:3], dice, dice + np.random.default_rng(0).normal(0, 0.001, (500, 3)))
    told = sentence("bcp", found)
    assert not found["known"] and f"the curve misses them by {100 * found['missed']:.1f}" in told
    assert "exactly" not in told


def test_three_budgets_are_fitted_exactly_and_it_is_said() -> None:
    dice = 0.9 - 0.4 * PATIENTS[:3] ** -POWER
    noise = np.random.default_rng(0).normal(0, 0.001, (500, 3))
    assert "exactly, so that nothing tells how well the curve fits" in sentence(
        "bcp", forecast(PATIENTS[:3], dice, dice + noise)
    )
