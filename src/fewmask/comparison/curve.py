"""A saturating curve through Dice and the number of labelled patients: what further masks would bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fewmask.statistics import percentile_interval

LEAST_BUDGETS = 3
"""The curve has three parameters."""
WIDEST = 0.10
"""Width of the interval of a gain from which on the data are said not to tell."""
MISSED = 0.01
"""Root mean square distance of the curve from the Dice from which on it is no curve of theirs."""
POWERS = np.geomspace(0.05, 4, 80)


@dataclass(frozen=True)
class Curve:
    """Dice(n) = ceiling - drop * n^-power, with drop >= 0 and ceiling <= 1; n labelled patients.

    A power law is the usual learning curve of test errors (Hestness et al. 2017, arXiv:1712.00409).  Each parameter is
    a number or an array of resamples.
    """

    ceiling: np.ndarray
    drop: np.ndarray
    power: np.ndarray

    def at(self, patients: float) -> np.ndarray:
        """Dice with so many labelled patients."""
        return self.ceiling - self.drop * patients**-self.power


def fit(patients: np.ndarray, dice: np.ndarray) -> Curve:
    """The curve of least squares through each row of dice (R, P) at patients (P,).

    For a fixed power the best ceiling and drop have a closed form; the power is the best of POWERS.
    """
    least = np.full(len(dice), np.inf)
    best = np.zeros((3, len(dice)))
    for power in POWERS:
        x = patients**-power
        away = x - x.mean()
        drop = np.maximum(-(dice @ away) / (away @ away), 0.0)
        ceiling = dice.mean(1) + drop * x.mean()
        over = ceiling > 1
        drop = np.where(over, np.maximum((1 - dice) @ x / (x @ x), 0.0), drop)
        ceiling = np.minimum(ceiling, 1.0)
        missed = ((dice - ceiling[:, None] + drop[:, None] * x) ** 2).sum(1)
        better = missed < least - 1e-12
        least = np.where(better, missed, least)
        best = np.where(better, np.stack([ceiling, drop, np.full(len(dice), power)]), best)
    return Curve(*best)


def forecast(patients: np.ndarray, dice: np.ndarray, resampled: np.ndarray, lacking: str = "") -> dict[str, Any]:
    """What twice the largest budget would bring, as plain values.

    patients (P,), increasing; dice (P,) means; resampled (R, P) the same of each resample, with shared draws.  lacking:
    what there is too little of for any sentence.
    """
    most, target = float(patients[-1]), 2 * float(patients[-1])
    curve = fit(patients, dice[None])
    resampled = resampled[~np.isnan(resampled).any(axis=1)]
    drawn = fit(patients, resampled)
    gain = float((curve.at(target) - curve.at(most))[0])
    interval = percentile_interval(drawn.at(target) - drawn.at(most))
    low, high = interval or (None, None)
    missed = float(np.sqrt(np.mean((dice - np.array([curve.at(n)[0] for n in patients])) ** 2)))
    if not lacking and missed > MISSED:
        lacking = f"the curve misses them by {100 * missed:.1f}"
    known = not lacking and interval is not None and interval[1] - interval[0] <= WIDEST
    return {
        "patients": patients.tolist(),
        "dice": dice.tolist(),
        "ceiling": float(curve.ceiling[0]),
        "drop": float(curve.drop[0]),
        "power": float(curve.power[0]),
        "missed": missed,
        "to": round(target),
        "gain": {"mean": gain, "low": low, "high": high},
        "known": known,
        "lacking": lacking,
    }


def no_sentence(method: str, lacking: str) -> str:
    """Where there is nothing to fit."""
    return f"{method}: the data do not tell what more labelled patients would bring ({lacking})."


def sentence(method: str, found: dict[str, Any]) -> str:
    """The forecast in words, in points of Dice (100 = perfect)."""
    gain, most, target = found["gain"], found["patients"][-1], found["to"]
    budgets = ", ".join(f"{n:g}" for n in found["patients"])
    told = f"{100 * gain['mean']:+.1f} Dice"
    if gain["low"] is not None:
        told += f" [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
    if not found["known"]:
        why = f" ({found['lacking']})" if found["lacking"] else ""
        return (
            f"{method}: the data do not tell what {target} labelled patients instead of {most:g} would bring{why}; "
            f"{told}, fitted to {budgets}."
        )
    exact = " exactly, so that nothing tells how well the curve fits" if len(found["patients"]) == LEAST_BUDGETS else ""
    return f"{method}: {target} labelled patients instead of {most:g} would bring {told}; fitted to {budgets}{exact}."
