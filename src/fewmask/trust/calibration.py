"""Agreement -> Dice, learned where both are known: isotonic regression, and conformal intervals around it.

The intervals are CV+ (Barber et al., Annals of Statistics 2021, arXiv:1905.02928, section 3), the form of split
conformal prediction that spends no case on the split: of ten cases a half would leave no 90 % interval at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression

from fewmask.errors import DataError
from fewmask.runs import atomic_write

FILE = "calibration.json"
LEAST_CASES, LEAST_PATIENTS = 10, 5
"""Cases of known Dice, and patients among them, under which nothing is predicted: the score then only ranks.  Ten
frames of two patients say little about a third."""
ENOUGH = f"{LEAST_CASES} cases of {LEAST_PATIENTS} patients"
MISS = 0.10
"""Share of cases that an interval may miss."""
FOLDS = 20
"""Most folds of CV+; up to so many patients each is left out alone."""
EASE = 0.05
"""Residuals are taken relative to 1 - predicted + EASE: a mask that agrees in everything can be off by less."""
WHOLE = "(all)"
"""Stands for the whole mask in place of a class: mean over the classes that were found."""


Unit = Literal["ml", "voxels"]


class Curve:
    """Dice as a rising function of a score in [0, 1], through (0, 0): opinions that contradict each other are worth 0.

    Between the calibration scores it is linear; beyond the largest one, flat.
    """

    def __init__(self, score: np.ndarray, dice: np.ndarray) -> None:
        order = np.argsort(score, kind="stable")
        knots, place = np.unique(score[order], return_inverse=True)
        weights = np.bincount(place)
        fitted = isotonic_regression(np.bincount(place, dice[order]) / weights, weights=weights).x
        self.score, self.dice = np.append(0.0, knots), np.append(0.0, fitted)

    def __call__(self, score: np.ndarray | float) -> np.ndarray:
        return np.interp(score, self.score, self.dice)


class Calibrated:
    """A curve with its intervals, from scores, Dice and groups (patients) of calibration cases."""

    def __init__(self, score: Sequence[float], dice: Sequence[float], groups: Sequence[Hashable]) -> None:
        score, dice = np.asarray(score, dtype=float), np.asarray(dice, dtype=float)
        self.cases, self.lowest = len(score), float(score.min())
        self.curve = Curve(score, dice)
        names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        fold = np.array([names[group] for group in groups]) % FOLDS
        self._curves: list[Curve] = []
        self._residuals: list[np.ndarray] = []
        for left_out in np.unique(fold):
            here = fold == left_out
            if here.all():
                break  # one patient: no interval but the whole range
            curve = Curve(score[~here], dice[~here])
            expected = curve(score[here])
            self._curves.append(curve)
            self._residuals.append(np.abs(dice[here] - expected) / (1 + EASE - expected))

    def __call__(self, score: float) -> tuple[float, float, float]:
        """(predicted Dice, low, high) with 0 <= low <= predicted <= high <= 1."""
        predicted = float(self.curve(score))
        ends = []
        for curve, residuals in zip(self._curves, self._residuals, strict=True):
            expected = float(curve(score))
            width = residuals * (1 + EASE - expected)
            ends.append(np.stack([expected - width, expected + width]))
        low, high = _bounds(np.concatenate(ends, axis=1) if ends else np.empty((2, 0)))
        if score < self.lowest:
            low = 0.0  # nothing so bad was seen: how bad is not known
        return predicted, max(0.0, min(low, predicted)), min(1.0, max(high, predicted))


def _bounds(ends: np.ndarray) -> tuple[float, float]:
    """Lower and upper quantiles of CV+ from ends (2, n); infinite where n is too small for them."""
    count = ends.shape[1]
    rank = math.floor(MISS * (count + 1))
    if rank < 1:
        return -math.inf, math.inf
    return float(np.sort(ends[0])[rank - 1]), float(np.sort(ends[1])[count - rank])


@dataclass(frozen=True, kw_only=True)
class Point:
    """One class of one calibration case.  score: by level, None where nobody found the class; dice None: both empty.

    group: the patient, as a number, for names stay at home when a model is given away.
    """

    case: int
    group: int
    name: str
    score: Mapping[str, float | None]
    dice: float | None
    origin: Literal["val", "out-of-fold"] = "val"


def enough(points: Sequence[Point]) -> bool:
    """Whether Dice can be predicted from these."""
    cases, patients = ({getattr(point, of) for point in points} for of in ("case", "group"))
    return len(cases) >= LEAST_CASES and len(patients) >= LEAST_PATIENTS


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The range of a number among the training images: robust centre and deviation, and its ends."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ClassRange:
    """What is usual for a class in the masks of the run's own images.  unit: what `size` counts."""

    size: Bounds
    unit: Unit = "ml"
    components: int
    border: float


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """What training images look like.  centre, spread: by name of a number of `appearance`; most: the largest distance
    that is still usual."""

    centre: Mapping[str, float]
    spread: Mapping[str, float]
    most: float

    def distance(self, image: Mapping[str, float]) -> tuple[float, str]:
        """The largest distance of any number from its centre in spreads, and that number's name."""
        far = {name: abs(image[name] - self.centre[name]) / self.spread[name] for name in self.centre if name in image}
        name = max(far, key=far.__getitem__, default="")
        return far.get(name, 0.0), name


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All that turns evidence into trust: calibration points, and what is usual.

    model: hash of the weights it belongs to; source: where the points come from, in words.
    """

    model: str
    source: str
    points: Sequence[Point] = ()
    ranges: Mapping[str, ClassRange] = field(default_factory=dict)
    familiar: Familiar | None = None

    @cached_property
    def cases(self) -> int:
        """How many calibration cases there are."""
        return len({point.case for point in self.points})

    @cached_property
    def _fitted(self) -> dict[tuple[str, str], Calibrated | None]:
        return {}

    def of(self, name: str, level: str) -> Calibrated | None:
        """The calibration of a class (or WHOLE) at a level: its own where it has cases enough, else that of all
        classes together; None: only ranking."""
        key = (name, level)
        if key not in self._fitted:
            self._fitted[key] = self._fit(name, level)
        return self._fitted[key]

    def _fit(self, name: str, level: str) -> Calibrated | None:
        known = [p for p in self.points if p.score.get(level) is not None and p.dice is not None]
        own = [p for p in known if p.name == name]
        if len(own) < LEAST_CASES and name != WHOLE:
            own = [p for p in known if p.name != WHOLE]
        if not enough(own):
            return None
        return Calibrated([p.score[level] for p in own], [p.dice for p in own], [p.group for p in own])

    def rightly_empty(self, name: str, level: str) -> float | None:
        """Share of the calibration cases without the class among those in which nobody found it; None under ten."""
        asked = [p for p in self.points if p.name == name and level in p.score]
        empty = [p for p in asked if p.score[level] is None]
        if len(empty) < LEAST_CASES:
            return None
        return sum(point.dice is None for point in empty) / len(empty)

    def write(self, folder: Path) -> None:
        atomic_write(folder / FILE, json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n")


def read_calibration(folder: Path, model: str) -> Calibration | None:
    """The calibration beside a model; None where there is none, or it is of other weights.

    Raises DataError where the file is broken.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["model"] != model:
            return None
        familiar = values.pop("familiar")
        return Calibration(
            model=values["model"],
            source=values["source"],
            points=tuple(Point(**point) for point in values["points"]),
            ranges={
                name: ClassRange(**{**found, "size": Bounds(**found["size"])})
                for name, found in values["ranges"].items()
            },
            familiar=None if familiar is None else Familiar(**familiar),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it, trust.csv then only ranks") from None
