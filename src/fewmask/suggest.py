"""What to label next: unlabelled cases that the model is unsure of and that are unlike those already labelled.

Whether that beats chance on a data set is to be measured, not assumed (nnActive, arXiv:2511.19183): `random` is the
control, a draw among the cases in which something was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.config import nearest
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.predictors import find_model, load_model, model_hash
from fewmask.reading import read_prepared
from fewmask.runs import existing_run
from fewmask.seeding import generator
from fewmask.trust import EVIDENCE, WHOLE, Evidence, descriptor, judge, read_calibration, read_evidence

STRATEGIES = ("gain", "random")


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A case to label.  gain: 1 - predicted Dice (or agreement); distance: to the nearest case labelled or suggested
    before, relative to the mean one among unlabelled cases, None for the control."""

    case: str
    patient: str
    gain: float
    distance: float | None

    def to_json(self) -> dict[str, Any]:
        return {"case": self.case, "patient": self.patient, "gain": self.gain, "distance": self.distance}


def suggest(run: Path, count: int, strategy: str = "gain", seed: int = 0) -> list[Suggestion]:
    """The next `count` cases to label among a run's unlabelled ones, at most one a patient, none of a labelled one.

    Raises SettingsError for an unknown strategy or a count under 1, DataError where fewer are left or the run has
    no evidence.
    """
    if strategy not in STRATEGIES:
        raise SettingsError(f"--strategy {strategy}{nearest(strategy, STRATEGIES)}")
    if count < 1:
        raise SettingsError(f"-n {count}: at least 1")
    folder = existing_run(run)
    catalogue, split, model = read_catalogue(folder.catalogue), read_split(folder.split), find_model(run)
    calibration = read_calibration(model, model_hash(model))
    patient = {case.id: case.patient for case in catalogue.cases}
    known = {patient[case] for case in split.cases("labelled")}
    evidence = {}
    for case in split.unlabelled:
        path = folder.predictions / EVIDENCE / f"{case}.json"
        if path.is_file() and patient[case] not in known:
            evidence[case] = read_evidence(path)
    if len({patient[case] for case in evidence}) < count:
        left = len({patient[case] for case in evidence})
        raise DataError(
            f"{run}: {left} unlabelled patients with a prediction and its evidence, {count} asked; "
            "ask for fewer, or repeat `fewmask run`, which predicts what is missing"
        )
    gains = {}
    for case, one in evidence.items():
        (top,) = (row for row in judge(one, calibration) if row.name == WHOLE)
        gains[case] = 1 - max(top.rank, 0.0)
    if strategy == "random":
        return _random(evidence, gains, patient, count, seed)
    weights = load_model(model)
    labelled = [descriptor(read_prepared(weights, catalogue.by_id[case]).image) for case in split.cases("labelled")]
    return _by_gain(evidence, gains, patient, count, labelled)


def _random(
    evidence: Mapping[str, Evidence], gains: Mapping[str, float], patient: Mapping[str, str], count: int, seed: int
) -> list[Suggestion]:
    """Patients drawn evenly, of each the case with the most foreground; those with none only when nothing is left."""
    best: dict[str, str] = {}
    voxels = {case: sum(found.voxels for found in one.classes.values()) for case, one in evidence.items()}
    for case in evidence:
        if patient[case] not in best or voxels[case] > voxels[best[patient[case]]]:
            best[patient[case]] = case
    names = sorted(best)
    order = [names[place] for place in generator(seed, "suggest").permutation(len(names))]
    order.sort(key=lambda name: voxels[best[name]] == 0)  # stable: the draw stays
    return [Suggestion(case=best[name], patient=name, gain=gains[best[name]], distance=None) for name in order[:count]]


def _by_gain(
    evidence: Mapping[str, Evidence],
    gains: Mapping[str, float],
    patient: Mapping[str, str],
    count: int,
    labelled: Sequence[Sequence[float]],
) -> list[Suggestion]:
    """Greedy: the largest gain x distance to what is labelled or taken x typicality.

    Coarse images are points, each block by its deviation over the cases; typicality is the inverse of the mean distance
    to all cases: an image that is unlike every other would teach little about them.
    """
    cases = list(evidence)
    points = np.array([*(evidence[case].descriptor for case in cases), *labelled], dtype=float)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-3)
    apart = np.linalg.norm(points[:, None] - points[None, : len(cases)], axis=2)
    apart /= apart.mean() or 1.0
    nearest, apart = apart[len(cases) :].min(axis=0, initial=np.inf), apart[: len(cases)]
    typical = 1 / np.maximum(apart.mean(axis=1), 1e-6)
    gain = np.array([gains[case] for case in cases])
    free = np.ones(len(cases), dtype=bool)
    found: list[Suggestion] = []
    while len(found) < count:
        best = int(np.argmax(np.where(free, gain * np.minimum(nearest, 1e6) * typical, -1.0)))
        found.append(
            Suggestion(
                case=cases[best],
                patient=patient[cases[best]],
                gain=float(gain[best]),
                distance=float(nearest[best]) if np.isfinite(nearest[best]) else None,
            )
        )
        free &= np.array([patient[case] != patient[cases[best]] for case in cases])
        nearest = np.minimum(nearest, apart[best])
    return found


def suggestion_text(found: Sequence[Suggestion], strategy: str) -> str:
    """The suggestions for people, with what to do with them."""
    lines = [f"{one.case}  (patient {one.patient}, expected gain {one.gain:.2f})" for one in found]
    how = "unsure and unlike each other" if strategy == "gain" else "drawn at random among those with foreground"
    return "\n".join([f"label next, {how}:", *(f"  {line}" for line in lines)])
