"""How much the trust score is worth: on test cases of finished runs, as they are and corrupted on purpose.

    python benchmarks/trust.py RUN... --out OUT [--level quick]

Predicts val and test of each run with all members (those of the last checkpoint where the model names none), calibrates
on val, and writes for each run and level: correlation of predicted and true Dice, coverage and width of the 90 %
interval, AURC beside that of the best possible order, of chance and of the mean softmax confidence; and the share of
corrupted scans that are flagged.  Test is read to measure, never to calibrate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import pearsonr, spearmanr

from fewmask.audit import config_of
from fewmask.calibrate import MOST_LABELLED, calibration_from, dice_of
from fewmask.collection import predict
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, read_catalogue
from fewmask.data.split_file import read_split
from fewmask.evaluation import evaluate
from fewmask.methods import build_method
from fewmask.predictors import Model, load_model, model_hash, save_model
from fewmask.reading import read_prepared
from fewmask.runs import Run, atomic_write
from fewmask.seeding import generator
from fewmask.statistics import aurc
from fewmask.training.checkpoint import load_state
from fewmask.trust import EVIDENCE, LEVELS, WHOLE, Calibration, Evidence, Level, appearance, judge, read_evidence
from fewmask.types import Case, Task

CORRUPTIONS = ("noise", "ghosts", "contrast", "cropped")


def with_members(run: Run) -> Model:
    """The run's model, with the members of its last checkpoint where it names none of its own."""
    model = load_model(run.model)
    if model.members:
        return model
    task = Task(
        channels=len(model.channels),
        classes=len(model.labels),
        names=model.labels.names,
        patch_size=model.patch_size,
    )
    method = build_method(config_of(run).method, task)
    load_state(run.last / "state.safetensors", method, {})
    return replace(model, members={name: member.eval() for name, member in method.members().items()})


def corrupted(image: np.ndarray, kind: str, chance: np.random.Generator) -> np.ndarray:
    """image (C, D, H, W) as a bad scan shows it.

    noise: half of the image's deviation; ghosts: two shifted copies along H, as motion between phases gives; contrast:
    bright turned dark, as of another sequence; cropped: all but a half of W is missing.
    """
    low, high = np.percentile(image, [1, 99])
    if kind == "noise":
        return image + chance.normal(0, 0.5 * image.std(), image.shape)
    if kind == "ghosts":
        away = image.shape[2] // 5
        return 0.5 * image + 0.25 * np.roll(image, away, axis=2) + 0.25 * np.roll(image, -away, axis=2)
    if kind == "contrast":
        return low + high - np.clip(image, low, high)
    cut = image.copy()
    cut[..., image.shape[3] // 2 :] = low
    return cut


def write_corrupted(case: Case, kind: str, folder: Path) -> Case:
    """A copy of the case whose image is corrupted; one that is there already is kept."""
    image, grid = formats.read_case_image(case)
    changed = corrupted(image, kind, generator(0, kind, case.id)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    if grid.planar:
        path = folder / f"{case.id}.png"
        values = np.rint(np.clip(changed[:, 0], 0, 255)).astype(np.uint8)
        if not path.exists():
            Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)).save(path)
        return replace(case, images=(path,))
    paths = []
    for number, channel in enumerate(changed):
        paths.append(folder / f"{case.id}_{number:04d}.nii.gz")
        if not paths[-1].exists():
            formats.write_volume(paths[-1], channel, grid, None)
    return replace(case, images=tuple(paths))


def evidence_of(model: Path, cases: Sequence[Case], out: Path, run: Run, level: Level) -> list[Evidence]:
    """Predict with the members of a level; what is there already is kept."""
    settings = config_of(run).predict
    predict(model, [], out, cases=cases, trust=level, settings=settings, device="cpu", quiet=True)
    return [read_evidence(out / EVIDENCE / f"{case.id}.json") for case in cases]


def measure(calibration: Calibration, evidence: Sequence[Evidence], dice: dict, level: str) -> list[dict]:
    """A row for whole masks and one for all classes: how well trust orders and tells Dice on these cases."""
    whole, classes = [], []
    pairwise = {}
    for one in evidence:
        known = {name: seen.pairwise(level) or 0.0 for name, seen in one.classes.items() if seen.voxels}
        pairwise |= {(one.case, name): value for name, value in known.items()}
        pairwise[one.case, WHOLE] = sum(known.values()) / max(len(known), 1)
        for row in judge(replace(one, level=level), calibration):
            true = dice[one.case]
            known = [value for value in true.values() if value is not None]
            truth = (sum(known) / len(known) if known else None) if row.name == WHOLE else true[row.name]
            if truth is not None and row.agreement is not None and row.confidence is not None:
                (whole if row.name == WHOLE else classes).append((row, truth))
    found = []
    for kind, rows in (("case", whole), ("class", classes)):
        truth = np.array([value for _, value in rows])
        agreement = np.array([row.agreement for row, _ in rows])
        rank = np.array([row.rank for row, _ in rows])
        confidence = np.array([row.confidence for row, _ in rows])
        pairs = np.array([pairwise.get((row.case, row.name), 0.0) for row, _ in rows])
        best, random = aurc(truth, truth), aurc(np.zeros(len(truth)), truth)
        inside = [row.low <= value <= row.high for row, value in rows if row.low is not None]
        widths = [row.high - row.low for row, _ in rows if row.low is not None]
        found.append(
            {
                "level": level,
                "unit": kind,
                "n": len(rows),
                "pearson": float(pearsonr(rank, truth)[0]),
                "spearman": float(spearmanr(agreement, truth)[0]),
                "spearman_confidence": float(spearmanr(confidence, truth)[0]),
                "spearman_pairwise": float(spearmanr(pairs, truth)[0]),
                "error": float(np.abs(rank - truth).mean()) if inside else None,
                "coverage": float(np.mean(inside)) if inside else None,
                "width": float(np.mean(widths)) if widths else None,
                "aurc": aurc(agreement, truth),
                "aurc_confidence": aurc(confidence, truth),
                "aurc_pairwise": aurc(pairs, truth),
                "aurc_best": best,
                "aurc_random": random,
            }
        )
    return found


def flagged(calibration: Calibration, evidence: Sequence[Evidence], dice: dict, level: str) -> dict:
    """Shares of cases that are not accepted, and that are named unlike training; true mean Dice beside."""
    tops = [judge(replace(one, level=level), calibration)[0] for one in evidence]
    known = [value for one in evidence for value in dice[one.case].values() if value is not None]
    return {
        "cases": len(tops),
        "dice": float(np.mean(known)),
        "not_accepted": float(np.mean([top.flag != "accept" for top in tops])),
        "unlike_training": float(np.mean([any("unlike" in reason for reason in top.reasons) for top in tops])),
        "predicted": float(np.mean([np.nan if top.predicted_dice is None else top.predicted_dice for top in tops])),
    }


def prove(run: Run, out: Path, level: Level) -> dict:
    """All numbers of one run, of this level and of those within it."""
    catalogue, split = read_catalogue(run.catalogue), read_split(run.split)
    model = with_members(run)
    save_model(model, out / "model")
    scored: dict[str, tuple[list[Evidence], dict]] = {}
    for role in ("val", "test"):
        cases = [catalogue.by_id[case] for case in getattr(split, role)]
        scored[role] = scored_cases(out / role, cases, catalogue, out / "model", run, role, level)
    paths = {case: run.predictions / EVIDENCE / f"{case}.json" for case in split.unlabelled}
    val, val_dice = scored["val"]
    evidence = {one.case: one for one in val}
    evidence |= {case: read_evidence(path) for case, path in paths.items() if path.is_file()}
    # a run of before there was trust has no evidence of its unlabelled images, but these are known to it all the same
    looked_at = [*split.cases("labelled"), *(case for case in paths if case not in evidence)][:MOST_LABELLED]
    images = [appearance(read_prepared(model, catalogue.by_id[case]).image) for case in looked_at]
    calibration = calibration_from(model_hash(out / "model"), catalogue, split, evidence, val_dice, images)
    test, test_dice = scored["test"]
    found = {"members": list(test[0].members), "calibration_cases": calibration.cases}
    found["scores"] = [
        row for one in LEVELS[1 : LEVELS.index(level) + 1] for row in measure(calibration, test, test_dice, one)
    ]
    found["corrupted"] = {"none": flagged(calibration, test, test_dice, "quick")}
    for kind in CORRUPTIONS:
        cases = [write_corrupted(catalogue.by_id[case], kind, out / kind / "images") for case in split.test]
        evidence, dice = scored_cases(out / kind / "masks", cases, catalogue, out / "model", run, kind, "quick")
        found["corrupted"][kind] = flagged(calibration, evidence, dice, "quick")
    return found


def scored_cases(
    out: Path, cases: Sequence[Case], catalogue: Catalogue, model: Path, run: Run, name: str, level: Level
) -> tuple[list[Evidence], dict]:
    """Evidence of the cases, and their Dice against the catalogue's masks."""
    evidence = evidence_of(model, cases, out, run, level)
    evaluate(out, catalogue, out / "evaluation", [case.id for case in cases], split=name, protocol="voxel", quiet=True)
    return evidence, dice_of(out / "evaluation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--level", choices=LEVELS[1:], default="full")
    given = parser.parse_args()
    found = {}
    for path in given.runs:
        found[path.name] = prove(Run(path), given.out / path.name, given.level)
        atomic_write(given.out / "trust.json", json.dumps(found, indent=2, allow_nan=True) + "\n")
        print(path.name)
        for row in found[path.name]["scores"]:
            print("  ", {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
        for kind, row in found[path.name]["corrupted"].items():
            print("  ", kind, {key: round(value, 3) for key, value in row.items()})


if __name__ == "__main__":
    main()
