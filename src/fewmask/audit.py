"""What rectification does to pseudo-labels: Dice before and after, with controls, on masks that training did not see.

Each variant of a method's pseudo-labels is predicted and scored like any prediction, so every step leaves its files:
OUT/variants/<name>/{model,masks,evaluation}, then audit.csv; job.audit adds pictures and, last, audit.json.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fewmask.collection import predict
from fewmask.config import Config, validated
from fewmask.data.catalogue import Catalogue, read_catalogue
from fewmask.data.layouts.found import some
from fewmask.data.split_file import read_split
from fewmask.dice_table import read_dice
from fewmask.errors import DataError, SettingsError
from fewmask.evaluation import evaluate
from fewmask.methods import build_method
from fewmask.predictors import Model, load_model, save_model
from fewmask.runs import Run, atomic_write
from fewmask.statistics import bootstrap_interval, class_mean, paired_wilcoxon
from fewmask.training.checkpoint import load_state
from fewmask.types import Case, Split, Task

RAW, RECTIFIED, AGAINST = "raw", "rectified", "against"
UNCHANGED = "its method does not change its pseudo-labels; give a run of one that does, such as diffrect"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Dice of every variant, case and class: arrays (N, K - 1), NaN where a class is in neither mask.

    The first two variants are compared, the others are controls.
    """

    cases: tuple[Case, ...]
    names: tuple[str, ...]
    dice: Mapping[str, np.ndarray]

    @property
    def patients(self) -> list[str]:
        return [case.patient for case in self.cases]

    @property
    def pair(self) -> tuple[str, str]:
        """What is audited: the labels before and after, or those of one network and of another."""
        before, after, *_ = self.dice
        return before, after


def audit(
    run: Path,
    out: Path,
    *,
    against: Path | None = None,
    reference: Catalogue | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score the pseudo-labels of a finished run and write audit.csv to `out`; returns what audit.json shall hold.

    reference None: the run's val cases.  Else the run's unlabelled cases, whose masks it holds.
    against: a run whose rectified labels stand beside, such as a control without diffusion.

    Raises SettingsError where the run's method has one kind of pseudo-label only, DataError where there is no mask to
    hold against.
    """
    folder = Run(run)
    models = variants(folder)
    if len(models) < 2:
        raise SettingsError(f"{run}: {UNCHANGED}")
    if against is not None:
        others = variants(Run(against))
        if len(others) < 2:
            raise SettingsError(f"--against {against}: {UNCHANGED}")
        models[AGAINST] = list(others.values())[1]
    catalogue, role, cases = audited(folder, reference)
    if against is not None:
        _refuse_seen(Run(against), cases)
    settings = config_of(folder).predict
    dice = {}
    for name, model in models.items():
        place = out / "variants" / name
        save_model(model, place / "model")
        masks = place / "masks"
        predict(place / "model", [], masks, trust="none", cases=cases, settings=settings, device=device, quiet=quiet)
        ids = [case.id for case in cases]
        evaluate(place / "masks", catalogue, place / "evaluation", ids, split=role, quiet=quiet)
        dice[name] = read_dice(place / "evaluation" / "metrics.csv").of(ids)
    scores = Scores(cases=tuple(cases), names=tuple(catalogue.labels.names[1:]), dice=dice)
    found = summary(scores, role)
    atomic_write(out / "audit.csv", _table(scores))
    return found


def auditable(run: Run) -> bool:
    """Whether the method of a finished run has two kinds of pseudo-labels."""
    return len(variants(run)) > 1


def variants(run: Run) -> dict[str, Model]:
    """The last checkpoint's pseudo-labels as models, in the order of `Method.audit`."""
    if not (run.last / "state.safetensors").is_file():
        raise DataError(f"{run.root}: no checkpoint (last/state.safetensors); give a run folder after training")
    shape, settings = load_model(run.last), config_of(run).method
    task = Task(
        channels=len(shape.channels),
        classes=len(shape.labels),
        names=shape.labels.names,
        patch_size=shape.patch_size,
    )
    method = build_method(settings, task)
    load_state(run.last / "state.safetensors", method, {})
    return {name: replace(shape, predictor=predictor.eval()) for name, predictor in method.audit().items()}


def config_of(run: Run) -> Config:
    """The settings that a run was made with."""
    return validated(Config, yaml.safe_load(run.config.read_text(encoding="utf-8")), where=str(run.config))


def audited(run: Run, reference: Catalogue | None) -> tuple[Catalogue, str, list[Case]]:
    """Where the masks are, the role of the cases, and the cases with their images from the run's own catalogue."""
    own, split = read_catalogue(run.catalogue), read_split(run.split)
    if reference is None:
        cases = [own.by_id[case] for case in split.val if own.by_id[case].label is not None]
        if not cases:
            raise DataError(f"{run.root}: no val case has a mask; give --reference with masks of its unlabelled cases")
        return own, "val", cases
    _require_all(split, reference)
    return reference, "unlabelled", [own.by_id[case] for case in split.unlabelled]


def _require_all(split: Split, reference: Catalogue) -> None:
    known = {case.id for case in reference.cases if case.label is not None}
    missing = [case for case in split.unlabelled if case not in known]
    if not split.unlabelled:
        raise DataError("the run has no unlabelled case; leave --reference out to audit its val cases")
    if missing:
        raise DataError(
            f"{reference.name}: no mask of {len(missing)} of {len(split.unlabelled)} unlabelled cases "
            f"({some(missing)}); give the data that the run was split from"
        )


def _refuse_seen(other: Run, cases: Sequence[Case]) -> None:
    seen = read_split(other.split).labelled_slices.keys() & {case.id for case in cases}
    if seen:
        raise SettingsError(
            f"--against {other.root}: was trained on {some(sorted(seen))}; give a run of the same split"
        )


def _table(scores: Scores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "class", "variant", "dice"])
    for variant, dice in scores.dice.items():
        for case, row in zip(scores.cases, dice, strict=True):
            for name, value in zip(scores.names, row, strict=True):
                writer.writerow([case.id, name, variant, "" if np.isnan(value) else f"{value:.6g}"])
    return text.getvalue()


def summary(scores: Scores, role: str) -> dict[str, Any]:
    """Dice of each variant; after - before and after - control, overall and per class; one sentence."""
    dice = {name: bootstrap_interval(values, scores.patients).to_json() for name, values in scores.dice.items()}
    _, after = scores.pair
    differences = {f"{after} - {name}": _difference(scores, name) for name in scores.dice if name != after}
    found = {
        "split": role,
        "pair": list(scores.pair),
        "cases": len(scores.cases),
        "patients": len(set(scores.patients)),
        "dice": dice,
        "differences": differences,
    }
    return {**found, "verdict": verdict(found)}


def _difference(scores: Scores, other: str) -> dict[str, Any]:
    """Mean of after - other with its interval over patients and the paired Wilcoxon p, and per class."""
    values = scores.dice[scores.pair[1]] - scores.dice[other]

    def tested(difference: np.ndarray) -> dict[str, Any]:
        by_case = np.array([class_mean(row[None]) for row in difference.reshape(len(difference), -1)], dtype=float)
        p = paired_wilcoxon(np.zeros(len(by_case)), by_case, scores.patients)
        return {**bootstrap_interval(difference, scores.patients).to_json(), "p": p}

    return {
        **tested(values),
        "per_class": {name: tested(values[:, index]) for index, name in enumerate(scores.names)},
    }


def verdict(found: Mapping[str, Any]) -> str:
    """One plain sentence: which labels are better, and whether a control does as well."""
    before, after = found["pair"]
    gain = found["differences"][f"{after} - {before}"]
    if gain["mean"] is None:
        return f"{before} and {after}: no class is in any mask, so there is nothing to compare."
    if (before, after) != (RAW, RECTIFIED):
        return _of_two(before, after, gain, found["patients"])
    one = found["patients"] == 1
    people = "1 patient" if one else f"{found['patients']} patients"
    changed = f"{_signed(gain)} Dice ({people})"
    if gain["low"] is None:
        few = "is" if one else "are"
        return f"Rectification changes pseudo-labels by {_signed(gain)} Dice; {people} {few} too few to say more."
    if gain["low"] <= 0 <= gain["high"]:
        return f"Whether rectification helps is not established: {changed}."
    if gain["high"] < 0:
        return f"Rectification spoils pseudo-labels: {changed}."
    equal = [
        name.removeprefix(f"{RECTIFIED} - ")
        for name, difference in found["differences"].items()
        if difference is not gain and (difference["low"] is None or difference["low"] <= 0)
    ]
    if not equal:
        return f"Rectification improves pseudo-labels: {changed}, and no control does as much."
    return (
        f"Rectification improves pseudo-labels: {changed}, but is not shown to do more than {', '.join(equal)}, "
        "so not to owe it to the denoised latent."
    )


def _of_two(one: str, other: str, gain: Mapping[str, Any], patients: int) -> str:
    """The sentence about two networks that label for each other."""
    people = "1 patient" if patients == 1 else f"{patients} patients"
    if gain["low"] is None:
        return f"{other} - {one} {_signed(gain)} Dice; {people}, too few to say more."
    if gain["low"] <= 0 <= gain["high"]:
        return f"Whose labels are better is not established: {other} - {one} {_signed(gain)} Dice ({people})."
    better, worse = (other, one) if gain["mean"] > 0 else (one, other)
    return f"The labels of {better} are better than those of {worse}: {other} - {one} {_signed(gain)} Dice ({people})."


def _signed(difference: Mapping[str, Any]) -> str:
    mean = f"{difference['mean']:+.3f}"
    return mean if difference["low"] is None else f"{mean} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
