"""What the scores carry: intervals, paired tests, ranks when cases are drawn anew, and a verdict for each pair.

The unit is the patient; repeats (seeds, or exemplars) are a second kind of luck.  Intervals resample both; the paired
test is over patients, of the mean over the runs that both methods have.  Holm's correction is over all tests of one
budget.  A difference is called established only with three repeats, and beyond their spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fewmask.comparison import curve
from fewmask.comparison.grid import EXEMPLAR
from fewmask.comparison.scores import Scores
from fewmask.statistics import (
    Draws,
    class_mean,
    draw,
    holm,
    paired_wilcoxon,
    percentile_interval,
    rank_biserial,
    repeated_mean,
    resampled_means,
    t_interval,
)

BASE = "supervised"
LEAST_REPEATS = 3
"""Seeds, or exemplars, of a claim."""
LEAST_PATIENTS = 5
"""Patients under which neither an interval nor a test is given."""
LEVEL = 0.05


def analyse(scores: Scores, *, with_curve: bool = False) -> dict[str, Any]:
    """The numeric part of comparison.json."""
    columns = {group: _Column(scores, group) for group in scores.groups}
    comparisons = [entry for column in columns.values() for entry in column.comparisons()]
    found = {
        "scored_on": scores.results[0].summary["split"],
        "protocol": scores.results[0].summary["protocol"],
        "cases": scores.results[0].summary["cases"],
        "patients": len(set(scores.patients)),
        "classes": list(scores.results[0].classes),
        "budgets": [{"labelled": group, "patients": scores.labelled(group)} for group in scores.groups],
        "scores": [row for column in columns.values() for row in column.scores()],
        "comparisons": comparisons,
        "verdicts": [entry["verdict"] for entry in comparisons],
    }
    return {**found, "curves": curves(scores)} if with_curve else found


def curves(scores: Scores) -> list[dict[str, Any]]:
    """What further masks would bring, for each method with enough budgets; exemplars are no budget of their own."""
    found = []
    for method in scores.methods:
        columns = [group for group in scores.groups if group != EXEMPLAR and scores.of(method, group)]
        dice = {group: scores.dice(method, group) for group in columns}
        means = {group: mean for group in columns if (mean := repeated_mean(dice[group])) is not None}
        patients = np.array([scores.labelled(group) for group in means], dtype=float)
        lacking = _lacking(len(set(patients)), len(set(scores.patients)), min(map(len, dice.values()), default=0))
        if len(set(patients)) < curve.LEAST_BUDGETS:
            found.append({"method": method, "known": False, "verdict": curve.no_sentence(method, lacking)})
            continue
        resampled = [
            resampled_means(dice[group], scores.patients, _draws(scores, scores.of(method, group))) for group in means
        ]
        forecast = curve.forecast(patients, np.array(list(means.values())), np.stack(resampled, axis=1), lacking)
        found.append({"method": method, **forecast, "verdict": curve.sentence(method, forecast)})
    return found


def _lacking(budgets: int, patients: int, repeats: int) -> str:
    """What is too few for a forecast, in words; empty: nothing is."""
    if budgets < curve.LEAST_BUDGETS:
        return f"{budgets} budget{'s' * (budgets != 1)} finished, a curve takes {curve.LEAST_BUDGETS}"
    if patients < LEAST_PATIENTS:
        return f"{patients} patient{'s' * (patients != 1)} to score, an interval takes {LEAST_PATIENTS}"
    if repeats < LEAST_REPEATS:
        return f"{repeats} seed{'s' * (repeats != 1)}, a claim takes {LEAST_REPEATS}"
    return ""


def _draws(scores: Scores, runs: Iterable[tuple[str, int]]) -> Draws:
    """The same for the same runs (budget, seed), so that what is drawn for one method is drawn for the others.

    The seeds of an exemplar are drawn together: they say nothing of how another exemplar would have done.
    """
    exemplars = {budget.name for budget in scores.grid.budgets if budget.exemplar}
    return draw(len(set(scores.patients)), [budget if budget in exemplars else (budget, seed) for budget, seed in runs])


class _Column:
    """All methods with one budget."""

    def __init__(self, scores: Scores, group: str) -> None:
        self.all, self.group = scores, group
        self.repeats = {method: scores.of(method, group) for method in scores.methods if scores.of(method, group)}
        self.dice = {method: scores.dice(method, group) for method in self.repeats}
        self.resampled = {
            method: resampled_means(values, scores.patients, _draws(scores, self.repeats[method]))
            for method, values in self.dice.items()
        }
        self.enough = len(set(scores.patients)) >= LEAST_PATIENTS

    def scores(self) -> list[dict[str, Any]]:
        """A row a method."""
        first = self._first()
        return [
            {
                "method": method,
                "labelled": self.group,
                "dice": self._interval(repeated_mean(self.dice[method]), self.resampled[method]),
                "repeats": [
                    {
                        "labelled": budget,
                        "seed": seed,
                        "dice": run.summary["dice"]["mean"],
                        "val": run.val,
                        "last": run.last,
                    }
                    for (budget, seed), run in repeats.items()
                ],
                "per_class": {
                    name: repeated_mean(self.dice[method][..., k : k + 1])
                    for k, name in enumerate(self.all.results[0].classes)
                },
                "per_patient": self._per_patient(self.dice[method]),
                "first": first.get(method),
                "minutes": _mean(result.cost["minutes"] for result in repeats.values()),
                "memory_mb": _largest(result.cost["memory_mb"] for result in repeats.values()),
                "gpu_memory_mb": _largest(result.cost.get("gpu_memory_mb") for result in repeats.values()),
            }
            for method, repeats in self.repeats.items()
        ]

    def _first(self) -> dict[str, float]:
        """Share of resamples in which each method has the highest mean, of the runs that all have; none where there is
        nothing to rank."""
        every = list(self.repeats.values())
        shared = [key for key in every[0] if all(key in runs for runs in every)]
        if len(every) < 2 or not self.enough or not shared:
            return {}
        draws = _draws(self.all, shared)
        table = np.stack(
            [resampled_means(np.stack([runs[key].dice for key in shared]), self.all.patients, draws) for runs in every]
        )
        table = table[:, ~np.isnan(table).any(axis=0)]
        if not table.size:
            return {}
        ahead = table == table.max(axis=0)
        return dict(zip(self.repeats, (ahead / ahead.sum(axis=0)).mean(axis=1).tolist(), strict=True))

    def _per_patient(self, dice: np.ndarray) -> dict[str, float]:
        """Mean of dice (S, N, K-1) over a patient's cases, then classes, then repeats."""
        patients = np.array(self.all.patients)
        means = {name: repeated_mean(dice[:, patients == name]) for name in dict.fromkeys(patients)}
        return {str(name): mean for name, mean in means.items() if mean is not None}

    def comparisons(self) -> list[dict[str, Any]]:
        """Each method against `supervised` and against the best of the others; the best by val, where there is one."""
        pairs = []
        for method in self.repeats:
            rivals = [other for other in self.repeats if other != method]
            if BASE in rivals:
                pairs.append((method, BASE, "base"))
            best = max(rivals, key=self._chosen_by, default=None)
            if best is not None and best != BASE and method != BASE:
                pairs.append((method, best, "best"))
        found = [entry for entry in (self._pair(*pair) for pair in pairs) if entry is not None]
        # a pair that is told from both sides is one hypothesis, and counts once
        tests = {frozenset((entry["method"], entry["against"])): entry["p"] for entry in found}
        corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
        for entry in found:
            entry["p_holm"] = corrected[frozenset((entry["method"], entry["against"]))]
            entry["established"], why = _established(entry, len(set(self.all.patients)), len(tests))
            entry["verdict"] = _verdict(entry, why)
        return found

    def _chosen_by(self, method: str) -> float:
        """What ranks a method without looking at what is reported: its mean Dice on val, if all have one, else that of
        the scores."""
        if all(run.val is not None for runs in self.repeats.values() for run in runs.values()):
            return float(np.mean([run.val for run in self.repeats[method].values()]))
        return repeated_mean(self.dice[method]) or 0.0

    def _pair(self, method: str, other: str, kind: str) -> dict[str, Any] | None:
        runs = [key for key in self.repeats[method] if key in self.repeats[other]]
        if not runs:
            return None
        ours, theirs = (np.stack([self.repeats[name][key].dice for key in runs]) for name in (method, other))
        draws = _draws(self.all, runs)
        ours_drawn, theirs_drawn = (resampled_means(dice, self.all.patients, draws) for dice in (ours, theirs))
        return {
            "labelled": self.group,
            "method": method,
            "against": other,
            "kind": kind,
            "difference": self._interval(_less(repeated_mean(ours), repeated_mean(theirs)), ours_drawn - theirs_drawn),
            "repeats": [
                {"labelled": budget, "seed": seed, "difference": _less(class_mean(one), class_mean(other))}
                for (budget, seed), one, other in zip(runs, ours, theirs, strict=True)
            ],
            **self._test(ours, theirs),
        }

    def _test(self, ours: np.ndarray, theirs: np.ndarray) -> dict[str, float | None]:
        """p of the paired test over patients, and in which direction most of them went.

        Where one method alone sees that a class is absent, which leaves no Dice, it is wholly right in this test and
        the other, with Dice 0, wholly wrong: a patient without any class is no reason to look away.
        """
        seen = [
            self._per_patient(np.where(np.isnan(one) & ~np.isnan(other), 1.0, one))
            for one, other in ((ours, theirs), (theirs, ours))
        ]
        ours, theirs = (list(means.values()) for means in seen)
        return {
            "p": paired_wilcoxon(theirs, ours, minimum_groups=LEAST_PATIENTS),
            "rank_biserial": rank_biserial(theirs, ours),
        }

    def _interval(self, mean: float | None, resampled: np.ndarray) -> dict[str, float | None]:
        low, high = (percentile_interval(resampled) if self.enough else None) or (None, None)
        return {"mean": mean, "low": low, "high": high}


def _less(one: float | None, other: float | None) -> float | None:
    """one - other; None where either is not known."""
    return None if one is None or other is None else one - other


def _established(entry: Mapping[str, Any], patients: int, tests: int) -> tuple[bool, str]:
    """Whether a difference is more than luck; and if not, why.  tests: those that Holm's correction knows."""
    difference, kind = entry["difference"], "exemplar" if entry["labelled"] == EXEMPLAR else "seed"
    if entry["p_holm"] is None or difference["low"] is None:
        return False, "too few patients to test"
    if tests * 2.0 ** (1 - patients) >= LEVEL:  # the least p of as many patients, times as many tests
        return False, f"of {patients} patients no p is small enough for {tests} test{'s' * (tests > 1)}"
    if entry["p_holm"] >= LEVEL or difference["low"] <= 0 <= difference["high"]:
        return False, ""
    if entry["rank_biserial"] * difference["mean"] <= 0:  # a rare class weighs more in the mean than in the test
        return False, "most patients go the other way"
    repeats: dict[str | int, list[float]] = {}
    for told in entry["repeats"]:
        if told["difference"] is not None:
            repeats.setdefault(told["labelled" if kind == "exemplar" else "seed"], []).append(told["difference"])
    if len(repeats) < LEAST_REPEATS:
        return False, f"{len(repeats)} {kind}{'s' * (len(repeats) > 1)}, a claim takes {LEAST_REPEATS}"
    low, high = t_interval([float(np.mean(differences)) for differences in repeats.values()]) or (0.0, 0.0)
    if low <= 0 <= high:
        return False, f"it changes too much from {kind} to {kind}"
    return True, ""


def _verdict(entry: Mapping[str, Any], why: str) -> str:
    """`3 labelled: fixmatch gains +2.1 Dice over supervised [+0.5, +3.9], p = 0.049: not established`."""
    difference, p = entry["difference"], entry["p_holm"]
    mean = difference["mean"]
    label = entry["labelled"] if entry["labelled"] == EXEMPLAR else f"{entry['labelled']} labelled"
    if mean is None:
        return f"{label}: {entry['method']} and {entry['against']} share no scored class: no comparison"
    apart = f"gains {100 * mean:+.1f} Dice over" if mean >= 0 else f"loses {-100 * mean:.1f} Dice to"
    told = f"{label}: {entry['method']} {apart} {entry['against']}"
    if difference["low"] is not None:
        told += f" [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    if p is not None:
        digits = 3 if abs(p - LEVEL) >= 0.0005 else 5
        told += f", p = {p:.{digits}f}" if p >= 0.001 else ", p < 0.001"
    conclusion = "established" if entry["established"] else "not established"
    return f"{told}: {conclusion}{f' ({why})' if why else ''}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
