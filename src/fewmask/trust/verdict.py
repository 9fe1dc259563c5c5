"""Evidence + calibration -> trust.csv: predicted Dice with its interval, and accept, review or reject with reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fewmask.errors import DataError
from fewmask.runs import atomic_write
from fewmask.trust.calibration import ENOUGH, WHOLE, Calibration
from fewmask.trust.evidence import ClassEvidence, Evidence
from fewmask.trust.familiarity import size_of
from fewmask.trust.members import Level

Flag = Literal["accept", "review", "reject"]
FLAGS: tuple[Flag, ...] = get_args(Flag)
FILE = "trust.csv"
ACCEPT, REJECT = 0.8, 0.5
"""Predicted Dice from which a mask is accepted, and below which it is rejected; `triage` asks for another target."""
EMPTY_RIGHTLY = 0.9
"""Share of calibration cases in which a class was rightly not found, from which that is accepted."""
RANKING_ONLY = f"ranking only: fewer than {ENOUGH} to calibrate on"
UNLIKE = "intensity unlike training"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One row of trust.csv: a class of a case, or WHOLE.

    predicted_dice, low, high: None where they cannot be told; agreement: the score they come from, in [0, 1], None
    where no member found the class; confidence: mean probability over the class's voxels; volume_ml None without
    spacing.
    """

    case: str
    name: str
    predicted_dice: float | None
    low: float | None
    high: float | None
    flag: Flag
    reasons: tuple[str, ...]
    agreement: float | None
    confidence: float | None
    voxels: int
    volume_ml: float | None
    opinions: Level
    """How many members were asked."""

    @property
    def rank(self) -> float:
        """What cases are ordered by, the best highest: predicted Dice, else agreement."""
        known = self.predicted_dice if self.predicted_dice is not None else self.agreement
        return -1.0 if known is None else known


COLUMNS = ("case", "class", *(name for name in Verdict.__dataclass_fields__ if name not in ("case", "name")))


def judge(evidence: Evidence, calibration: Calibration | None) -> list[Verdict]:
    """The verdict on each class of a case, after that on the whole mask."""
    strange = _strange(evidence, calibration)
    classes = [_of_class(evidence, name, one, calibration, strange) for name, one in evidence.classes.items()]
    scores = [one.agreement for one in classes if one.agreement is not None]
    whole = sum(scores) / len(scores) if scores else None
    predicted = _predicted(WHOLE, whole, evidence.level, calibration)
    worst = max((FLAGS.index(one.flag) for one in classes), default=0)
    flag = FLAGS[max(worst, FLAGS.index(_level(predicted[0], whole)))]
    sure = [one.confidence for one in classes if one.confidence is not None]
    volumes = [one.volume_ml for one in classes if one.volume_ml is not None]
    top = Verdict(
        case=evidence.case,
        name=WHOLE,
        predicted_dice=predicted[0],
        low=predicted[1],
        high=predicted[2],
        flag=flag,
        reasons=_of_all(classes),
        agreement=whole,
        confidence=sum(sure) / len(sure) if sure else None,
        voxels=sum(one.voxels for one in classes),
        volume_ml=sum(volumes) if volumes else None,
        opinions=evidence.level,
    )
    return [top, *classes]


def _of_all(classes: Sequence[Verdict]) -> tuple[str, ...]:
    """Why the whole mask is not accepted: the reasons of the classes that are not, with the class where there are
    several.  That an accepted class is rightly not found is no reason for a look."""

    def told(one: Verdict, reason: str) -> str:
        of_case = reason == RANKING_ONLY or reason.startswith(UNLIKE)
        return reason if of_case or len(classes) == 1 else f"{reason} ({one.name})"

    return tuple(dict.fromkeys(told(one, reason) for one in classes if one.flag != "accept" for reason in one.reasons))


def _of_class(
    evidence: Evidence, name: str, one: ClassEvidence, calibration: Calibration | None, strange: Sequence[str]
) -> Verdict:
    score = one.score(evidence.level)
    predicted = _predicted(name, score, evidence.level, calibration)
    flag, reasons = _level(predicted[0], score), []
    if one.voxels == 0:
        predicted = (None, None, None)
        empty = calibration.rightly_empty(name, evidence.level) if calibration and score is None else None
        flag = "accept" if empty is not None and empty >= EMPTY_RIGHTLY else "review"
        reasons.append("not found" if score is None else "found by some members only")
    elif predicted[0] is None:
        reasons.append(RANKING_ONLY)
    elif predicted[0] < ACCEPT:
        reasons.append(f"disagreement: {1 - (score or 0):.2f}")
    unusual = [*_unusual(name, one, calibration), *strange]
    if unusual and flag == "accept":
        flag = "review"
    return Verdict(
        case=evidence.case,
        name=name,
        predicted_dice=predicted[0],
        low=predicted[1],
        high=predicted[2],
        flag=flag,
        reasons=(*reasons, *unusual),
        agreement=score,
        confidence=one.confidence,
        voxels=one.voxels,
        volume_ml=one.volume_ml,
        opinions=evidence.level,
    )


def _predicted(
    name: str, score: float | None, level: str, calibration: Calibration | None
) -> tuple[float | None, float | None, float | None]:
    fitted = calibration.of(name, level) if calibration else None
    return (None, None, None) if fitted is None or score is None else fitted(score)


def _level(predicted: float | None, score: float | None) -> Flag:
    """By predicted Dice; without one nothing is accepted unseen, and what members contradict each other in rejected."""
    if predicted is None:
        return "reject" if score is not None and score < REJECT else "review"
    return "accept" if predicted >= ACCEPT else "review" if predicted >= REJECT else "reject"


def _strange(evidence: Evidence, calibration: Calibration | None) -> list[str]:
    if calibration is None or calibration.familiar is None:
        return []
    distance, name = calibration.familiar.distance(evidence.image)
    return [f"{UNLIKE}: {name}"] if distance > calibration.familiar.most else []


def _unusual(name: str, one: ClassEvidence, calibration: Calibration | None) -> list[str]:
    usual = calibration.ranges.get(name) if calibration else None
    if usual is None or one.voxels == 0:
        return []
    size, found = size_of(one, usual.unit), []
    if size is not None and not usual.size.low <= size <= usual.size.high:
        span = f"usual {usual.size.low:.3g} to {usual.size.high:.3g}"
        found.append(f"volume out of range: {size:.3g} {usual.unit}, {span}")
    if one.components > usual.components:
        found.append(f"components: {one.components}, usual up to {usual.components}")
    if one.border > max(usual.border, 0.001):
        found.append("touching the border")
    return found


def write_trust(verdicts: Iterable[Verdict], path: Path) -> None:
    """trust.csv, a row per verdict in the order given; reasons separated by `; `."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in verdicts:
        numbers = [_written(value) for value in (one.predicted_dice, one.low, one.high)]
        signs = [_written(value) for value in (one.agreement, one.confidence)]
        size = [one.voxels, _written(one.volume_ml)]
        writer.writerow([one.case, one.name, *numbers, one.flag, "; ".join(one.reasons), *signs, *size, one.opinions])
    atomic_write(path, text.getvalue())


def read_trust(path: Path) -> list[Verdict]:
    """The rows of trust.csv.  Raises DataError where it is not there or broken."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: not there; make it with: fewmask predict RUN INPUT --out DIR") from None
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            if row["flag"] not in FLAGS:
                raise ValueError(f"flag '{row['flag']}' is none of {', '.join(FLAGS)}")
            numbers = {
                key: _read(row[key])
                for key in ("predicted_dice", "low", "high", "agreement", "confidence", "volume_ml")
            }
            found.append(
                Verdict(
                    case=row["case"],
                    name=row["class"],
                    flag=row["flag"],
                    reasons=tuple(reason for reason in row["reasons"].split("; ") if reason),
                    voxels=int(row["voxels"]),
                    opinions=row["opinions"],
                    **numbers,
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} line {number}: {error}; predict again") from None
    return found


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _read(text: str) -> float | None:
    return float(text) if text else None
