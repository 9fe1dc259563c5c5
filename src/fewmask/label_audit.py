"""Which given masks to doubt: each labelled case is predicted by a model that did not learn from it.

Suspicious is a mask that such a model contradicts more than it contradicts others in which its members agree as much:
where they do not agree, the image is hard and the mask may well be right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask import job
from fewmask.audit import config_of
from fewmask.calibrate import dice_of, points
from fewmask.collection import predict, write_verdicts
from fewmask.config import Config
from fewmask.data.catalogue import Catalogue, read_catalogue
from fewmask.data.split_file import read_split, write_split
from fewmask.data.split_request import case_of
from fewmask.errors import SettingsError
from fewmask.evaluation import evaluate
from fewmask.order import Order
from fewmask.predictors import model_hash
from fewmask.progress import say
from fewmask.resolution import Request
from fewmask.runs import Run, atomic_write, existing_run
from fewmask.seeding import generator
from fewmask.trust import EVIDENCE, Calibration, Evidence, read_calibration, read_evidence
from fewmask.trust.calibration import Curve, enough
from fewmask.types import Split

FILE = "suspects.csv"
LEAST_DICE = 0.3
"""Median Dice of the folds' models and the given masks, under which the models are too poor to accuse."""
LEAST_OTHERS = 3
"""Other cases of a class from which it is told what agreement is worth."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A class of a labelled case.  dice: of the given mask and the model that did not see it; agreement: of that
    model's members; expected: Dice that such agreement is worth in the other cases; suspicion: how much lower dice is.
    """

    case: str
    patient: str
    name: str
    dice: float
    agreement: float
    expected: float
    suspicion: float


@dataclass(frozen=True, kw_only=True)
class LabelAudit:
    """suspects: the worst class of each case, the most suspicious first; calibrated: cases that the run's trust is
    calibrated on from now on, None where it was left as it is; median: Dice of the folds' models and the masks."""

    suspects: tuple[Suspect, ...]
    rows: tuple[Suspect, ...]
    folds: int
    calibrated: int | None
    median: float

    def to_json(self) -> dict[str, Any]:
        return {
            "folds": self.folds,
            "calibrated_on": self.calibrated,
            "median_dice": self.median,
            "suspects": [vars(one) for one in self.suspects],
        }


def audit_labels(
    run: Path, out: Path, *, folds: int = 5, steps: int | None = None, device: str = "auto", quiet: bool = False
) -> LabelAudit:
    """Train `folds` models, each without a part of the run's labelled patients, and rank the given masks by how much
    these contradict them; writes suspects.csv, and each fold's run to `out`/folds.  The same call continues.

    steps: budget of each fold, None: the run's.  Where val has too few cases to calibrate on, the out-of-fold ones join
    it in the run's calibration, unless the folds' models are poor.  Raises SettingsError for fewer than 2 folds or
    patients, and where `out` holds folds that were cut otherwise; DataError where RUN is none.
    """
    if folds < 2:
        raise SettingsError(f"--folds {folds}: at least 2, a model must not learn from the mask that it judges")
    folder = existing_run(run)
    if out.resolve() == run.resolve():
        raise SettingsError(f"--out {out}: the run itself; name another folder, its folds are runs of their own")
    catalogue, split, config = read_catalogue(folder.catalogue), read_split(folder.split), config_of(folder)
    parts = held_out(catalogue, split, folds)
    evidence: list[Evidence] = []
    dice: dict[str, dict[str, float | None]] = {}
    for number, part in enumerate(parts):
        say(
            f"audit-labels: fold {number + 1} of {len(parts)}, without {', '.join(part[:3])}{' ...' * (len(part) > 3)}",
            quiet,
        )
        place = out / "folds" / str(number)
        fold = _without(split, part, catalogue)
        _check_same(fold, Run(place))
        write_split(fold, out / "folds" / f"{number}.json")
        order = Order(
            data=folder.catalogue,
            request=request_of(config, steps),
            split=out / "folds" / f"{number}.json",
            cache=out / "cache",
            device=device,
            quiet=quiet,
        )
        trained = job.train(order, place)
        cases = [catalogue.by_id[case] for case in part]
        masks = trained.predictions
        predict(
            trained.model, [], masks, trust="full", cases=cases, settings=config.predict, device=device, quiet=quiet
        )
        evaluate(masks, catalogue, trained.evaluation, part, split="out-of-fold", quiet=quiet)
        evidence += [read_evidence(masks / EVIDENCE / f"{case}.json") for case in part]
        dice |= dice_of(trained.evaluation)
    rows = suspects(evidence, dice, {case.id: case.patient for case in catalogue.cases})
    atomic_write(out / FILE, _table(rows))
    worst = {one.case: one for one in reversed(rows)}
    median = float(np.median([one.dice for one in rows])) if rows else 0.0
    return LabelAudit(
        suspects=tuple(sorted(worst.values(), key=_most_suspicious)),
        rows=tuple(rows),
        folds=len(parts),
        calibrated=_join(folder, catalogue, evidence, dice) if median >= LEAST_DICE else None,
        median=median,
    )


def held_out(catalogue: Catalogue, split: Split, folds: int) -> list[list[str]]:
    """The labelled cases by fold, patients whole; cases of which only slices are labelled are in none.

    Raises SettingsError with fewer than two patients.
    """
    whole = [case for case, slices in split.labelled_slices.items() if slices is None]
    patients = list(dict.fromkeys(catalogue.by_id[case].patient for case in whole))
    if len(patients) < 2:
        raise SettingsError(
            f"audit-labels: {len(patients)} patients with wholly labelled cases; each is judged by a model that "
            "learned from the others, so at least 2 are needed"
        )
    order = generator(split.seed, "folds").permutation(len(patients))
    fold = {patients[place]: number % folds for number, place in enumerate(order)}
    parts = [[case for case in whole if fold[catalogue.by_id[case].patient] == number] for number in range(folds)]
    return [part for part in parts if part]


def _without(split: Split, part: Sequence[str], catalogue: Catalogue) -> Split:
    """The fold's split: its cases are test; val and the run's own test play no role, so no checkpoint is chosen.

    Nothing of its patients is learned from, be it another case or a labelled slice of one.
    """
    patients = {catalogue.by_id[case].patient for case in part}

    def kept(entry: str) -> bool:
        return catalogue.by_id[case_of(entry, catalogue)].patient not in patients

    labelled, unlabelled = (tuple(filter(kept, entries)) for entries in (split.labelled, split.unlabelled))
    return replace(split, labelled=labelled, unlabelled=unlabelled, val=(), test=tuple(part))


def _check_same(fold: Split, place: Run) -> None:
    """SettingsError where a model is there that may have learned from the masks that the fold is to judge."""
    if not place.split.is_file():
        return
    trained = read_split(place.split)
    if (trained.labelled, trained.test) != (fold.labelled, fold.test):
        raise SettingsError(
            f"{place.root}: trained without {', '.join(trained.test[:3])}, and not without {', '.join(fold.test[:3])}; "
            "repeat the first call's --folds, or name a new --out"
        )


def request_of(config: Config, steps: int | None) -> Request:
    """The settings of a finished run as a request: nothing is left to decide anew."""
    values = config.model_dump(mode="json")
    method = dict(values["method"])
    if steps is not None:
        values["train"]["steps"] = steps
    settings = {"method": {key: value for key, value in method.items() if key != "name"}}
    settings |= {key: values[key] for key in ("plan", "train", "predict")}
    return Request(method=method["name"], settings=settings)


def suspects(
    evidence: Iterable[Evidence], dice: dict[str, dict[str, float | None]], patients: dict[str, str]
) -> list[Suspect]:
    """Every class of every case, the most suspicious first; those in neither mask are left out."""
    evidence, rows = list(evidence), []
    for one in evidence:
        for name, seen in one.classes.items():
            known = dice[one.case].get(name)
            if known is None:
                continue
            expected = _expected(one, name, evidence, dice)
            rows.append(
                Suspect(
                    case=one.case,
                    patient=patients[one.case],
                    name=name,
                    dice=known,
                    agreement=seen.score(one.level) or 0.0,
                    expected=expected,
                    suspicion=expected - known,
                )
            )
    return sorted(rows, key=_most_suspicious)


def _expected(
    one: Evidence, name: str, evidence: Iterable[Evidence], dice: dict[str, dict[str, float | None]]
) -> float:
    """Dice that such agreement is worth in the other cases; with fewer than LEAST_OTHERS of them, the agreement itself.

    Where no member found the class: the share of the other such cases whose masks lack it too, 1 where there is none,
    times the mean Dice where it was found: models that miss a class everywhere accuse nobody.
    """
    score = one.classes[name].score(one.level)
    others = [
        (other.classes[name].score(other.level), dice[other.case].get(name))
        for other in evidence
        if other.case != one.case and name in other.classes
    ]
    known = [(agreement, value) for agreement, value in others if agreement is not None and value is not None]
    if score is None:
        absent = [value is None for agreement, value in others if agreement is None]
        found = sum(value for _, value in known) / len(known) if known else 0.0
        return found * (sum(absent) / len(absent) if absent else 1.0)
    if len(known) < LEAST_OTHERS:
        return score
    return float(Curve(*np.array(known).T)(score))


def _most_suspicious(one: Suspect) -> tuple[float, str]:
    return -one.suspicion, one.case


def _table(rows: Iterable[Suspect]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["place", "case", "patient", "class", "dice", "agreement", "expected", "suspicion"])
    for place, one in enumerate(rows, start=1):
        numbers = [f"{value:.4f}" for value in (one.dice, one.agreement, one.expected, one.suspicion)]
        writer.writerow([place, one.case, one.patient, one.name, *numbers])
    return text.getvalue()


def _join(
    run: Run, catalogue: Catalogue, evidence: Sequence[Evidence], dice: dict[str, dict[str, float | None]]
) -> int | None:
    """Calibrate the run's trust on the out-of-fold cases too, where val alone is too small; cases that it has then."""
    model = model_hash(run.model)
    before = read_calibration(run.model, model) or Calibration(model=model, source="val")
    own = tuple(point for point in before.points if point.origin == "val")
    if enough(own):
        return None
    first = max((point.case for point in own), default=-1) + 1
    group = max((point.group for point in own), default=-1) + 1
    patients = {case.id: case.patient for case in catalogue.cases}
    added = tuple(
        replace(point, case=point.case + first, group=point.group + group, origin="out-of-fold")
        for point in points(evidence, dice, patients)
    )
    joined = replace(before, points=own + added, source="val and out-of-fold" if own else "out-of-fold")
    joined.write(run.model)
    if (run.predictions / EVIDENCE).is_dir():
        write_verdicts(run.model, run.predictions)
    return joined.cases


def audit_text(found: LabelAudit, most: int = 20) -> str:
    """The ranking for people."""
    lines = [f"{len(found.suspects)} labelled cases, each judged by a model that did not learn from it; worst first:"]
    for one in found.suspects[:most]:
        lines.append(f"  {one.case}  {one.name}  Dice {one.dice:.2f}, expected {one.expected:.2f}")
    if found.median < LEAST_DICE:
        lines.append(
            f"the models of the folds are poor (median Dice {found.median:.2f}), so little can be told of the masks; "
            "train them longer (--steps)"
        )
    if found.calibrated is not None:
        lines.append(f"trust of the run's masks is now calibrated on {found.calibrated} cases")
    return "\n".join(lines)
