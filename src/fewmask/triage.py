"""A worklist with an error budget: accept as many masks as keep the expected mean Dice on target, review the rest."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.predictors import find_model, model_hash
from fewmask.runs import Run
from fewmask.seeding import generator
from fewmask.trust import TRUST, WHOLE, Calibration, Verdict, read_calibration, read_trust
from fewmask.trust.calibration import ENOUGH, MISS, Curve

RESAMPLES = 1000
BLOCKING = ("volume", "intensity", "components", "touching", "not found", "found by")
"""Reasons that no average heals: such a mask is reviewed whatever its predicted Dice."""


@dataclass(frozen=True, kw_only=True)
class Worklist:
    """accept and review: whole-mask verdicts, the former from the most trusted, the latter in the order of review.

    mean, low, high: expected mean Dice of the accepted with its 90 % interval, None where none is accepted.
    """

    target: float
    accept: tuple[Verdict, ...]
    review: tuple[Verdict, ...]
    mean: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "target_dice": self.target,
            "accepted": {"cases": len(self.accept), "mean": self.mean, "low": self.low, "high": self.high},
            "accept": [one.case for one in self.accept],
            "review": [{"case": one.case, "flag": one.flag, "reasons": list(one.reasons)} for one in self.review],
        }

    def to_csv(self) -> str:
        """worklist.csv: place, case, action, predicted_dice, low, high, reasons; in the order of work."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["place", "case", "action", "predicted_dice", "low", "high", "reasons"])
        rows = [("review", one) for one in self.review] + [("accept", one) for one in self.accept]
        for place, (action, one) in enumerate(rows, start=1):
            numbers = ["" if value is None else f"{value:.4g}" for value in (one.predicted_dice, one.low, one.high)]
            writer.writerow([place, one.case, action, *numbers, "; ".join(one.reasons)])
        return text.getvalue()


def triage(run: Path, target: float, masks: Path | None = None) -> Worklist:
    """The worklist of a run's predictions, or of another folder of masks that its model made.

    Of the run's own those of val and test are left out: their masks are known, and val's made the calibration.

    target: mean Dice of the accepted masks; as many are accepted, from the most trusted on, as keep the lower end of
    the 90 % interval of their expected mean at it.  Without a calibration none is accepted.

    Raises SettingsError for a target outside (0, 1], DataError where there is no trust.csv.
    """
    if not 0 < target <= 1:
        raise SettingsError(f"--target-dice {target:g}: a Dice between 0 and 1, for example 0.85")
    folder = find_model(run)
    calibration = read_calibration(folder, model_hash(folder))
    path, known = (masks or Run(run).predictions) / TRUST, set()
    if masks is None and Run(run).split.is_file():
        split = read_split(Run(run).split)
        known = {*split.val, *split.test}
    whole = [one for one in read_trust(path) if one.name == WHOLE and one.case not in known]
    if not whole:
        raise DataError(f"{path}: no case in it whose mask is unknown; predict some images, and give --masks DIR")
    return worklist(whole, calibration, target)


def worklist(whole: Sequence[Verdict], calibration: Calibration | None, target: float) -> Worklist:
    """As `triage`, of the verdicts on whole masks."""
    ordered = sorted(whole, key=lambda one: (-one.rank, one.case))
    able = [one for one in ordered if one.predicted_dice is not None and not _blocked(one)]
    accepted = 0
    mean = low = high = None
    if able and calibration is not None:
        samples = expected_means(able, calibration)
        lows = np.quantile(samples, MISS / 2, axis=0)
        good = np.flatnonzero(lows >= target)
        if len(good):
            accepted = int(good[-1]) + 1
            mean = float(np.mean([one.predicted_dice for one in able[:accepted]]))
            low, high = (float(np.quantile(samples[:, accepted - 1], level)) for level in (MISS / 2, 1 - MISS / 2))
    taken = {one.case for one in able[:accepted]}
    review = [one for one in reversed(ordered) if one.case not in taken]
    return Worklist(target=target, accept=tuple(able[:accepted]), review=tuple(review), mean=mean, low=low, high=high)


def _blocked(one: Verdict) -> bool:
    return any(reason.startswith(BLOCKING) for reason in one.reasons)


def expected_means(masks: Sequence[Verdict], calibration: Calibration) -> np.ndarray:
    """(R, N): mean Dice of the first 1, 2, ... N masks, in R resamples of the calibration patients.

    A resample fits its own curve and draws an error for each mask from those of the patients that it left out, so both
    the calibration's and the masks' chance are in it.  Errors of the points that a curve was fitted to would be too
    small: an isotonic one runs through all that rise.
    """
    levels = sorted({one.opinions for one in masks})
    whole = [p for p in calibration.points if p.name == WHOLE and p.dice is not None]
    known = [p for p in whole if all(p.score.get(level) is not None for level in levels)]
    dice, group = np.array([p.dice for p in known]), np.array([p.group for p in known])
    score = {level: np.array([p.score[level] for p in known]) for level in levels}
    members = {name: np.flatnonzero(group == name) for name in np.unique(group)}
    names, asked = list(members), np.array([one.agreement for one in masks], dtype=float)
    of_level = {level: np.array([one.opinions == level for one in masks]) for level in levels}
    chance = generator(0, "triage")
    means, found = np.empty((RESAMPLES, len(asked))), np.empty(len(asked))
    for row in range(RESAMPLES):
        picked = chance.choice(names, len(names))
        drawn = np.concatenate([members[name] for name in picked])
        left = np.flatnonzero(~np.isin(group, picked))
        others = left if len(left) else drawn
        for level, here in of_level.items():
            curve = Curve(score[level][drawn], dice[drawn])
            residuals = dice[others] - curve(score[level][others])
            found[here] = curve(asked[here]) + chance.choice(residuals, int(here.sum()))
        means[row] = np.cumsum(np.clip(found, 0, 1)) / np.arange(1, len(asked) + 1)
    return means


def worklist_text(found: Worklist, most: int = 20) -> str:
    """The worklist for people."""
    count = len(found.accept) + len(found.review)
    if found.mean is None:
        lines = [f"accept 0 of {count} masks: no number of them keeps an expected mean Dice of {found.target:g}"]
        if all(one.predicted_dice is None for one in found.review):
            lines = [f"accept 0 of {count} masks: ranking only, for fewer than {ENOUGH} in val have a mask"]
    else:
        interval = f"90 %: {found.low:.3f} to {found.high:.3f}"
        lines = [f"accept {len(found.accept)} of {count} masks: expected mean Dice {found.mean:.3f} ({interval})"]
    if found.review:
        lines += [f"review {len(found.review)}, in this order:"]
        for one in found.review[:most]:
            guess = "" if one.predicted_dice is None else f"{one.predicted_dice:.2f}  "
            lines.append(f"  {one.case}  {guess}{one.flag}  {'; '.join(one.reasons)}".rstrip())
        if len(found.review) > most:
            lines.append(f"  and {len(found.review) - most} more: --out writes all")
    return "\n".join(lines)
