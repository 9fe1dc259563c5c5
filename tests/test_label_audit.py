"""Planted wrong masks are found; no model judges a mask that it learned from."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from fewmask import api, label_audit
from fewmask.config import parse_assignments
from fewmask.data import formats
from fewmask.data.catalogue import read_catalogue
from fewmask.data.phantom import write_phantoms
from fewmask.data.split_file import read_split, write_split
from fewmask.errors import DataError, SettingsError
from fewmask.label_audit import LabelAudit, _check_same, _without, audit_labels, audit_text, held_out, suspects
from fewmask.runs import Run
from fewmask.trust import Evidence
from fewmask.trust.evidence import ClassEvidence
from fewmask.types import Split


def seen(score, voxels=5):
    return ClassEvidence(
        agreement=[[None, score], [score, None]],
        soft_dice=[score, score],
        confidence=score,
        voxels=voxels,
        volume_ml=None,
        components=1,
        border=0.0,
    )


def test_a_confident_contradiction_is_more_suspicious_than_a_hard_image():
    evidence = [
        Evidence(case=case, level="full", members=["plain", "x"], classes=classes, image={}, descriptor=[])
        for case, classes in (
            ("wrong", {"one": seen(0.95), "two": seen(0.9)}),
            ("hard", {"one": seen(0.4)}),
            ("right", {"one": seen(0.95), "two": seen(None, 0)}),
            ("forgotten", {"one": seen(0.9), "two": seen(None, 0)}),
        )
    ]
    dice = {
        "wrong": {"one": 0.3, "two": 0.9},
        "hard": {"one": 0.3},
        "right": {"one": 0.9, "two": None},
        "forgotten": {"one": 0.8, "two": 0.0},  # in the mask, and every member sees nothing
    }
    rows = suspects(evidence, dice, dict.fromkeys(dice, "p"))
    assert [(row.case, row.name) for row in rows[:2]] == [("forgotten", "two"), ("wrong", "one")]
    assert len(rows) == 6  # a class in neither mask says nothing
    assert [row.case for row in rows].index("hard") > 1


def of_class(cases, score, voxels):
    classes = {"rare": seen(score, voxels)}
    common = {"level": "full", "members": ["plain", "x"], "image": {}, "descriptor": []}
    return [Evidence(case=case, classes=classes, **common) for case in cases]


@pytest.mark.parametrize(("score", "voxels"), [(None, 0), (0.6, 5)])
def test_models_that_never_get_a_class_right_accuse_nobody(score, voxels):
    """They never find it, or are as sure as ever and always wrong."""
    dice = {case: {"rare": 0.0} for case in "abcd"}
    rows = suspects(of_class("abcd", score, voxels), dice, dict.fromkeys("abcd", "p"))
    assert [row.suspicion for row in rows] == [0, 0, 0, 0]


def test_folds_keep_patients_whole_and_cover_every_case(finished):
    run = finished.run
    catalogue, split = read_catalogue(run.catalogue), read_split(run.split)
    ids = tuple(case.id for case in catalogue.cases if case.label)[:4]
    parts = held_out(catalogue, replace(split, labelled=ids), 3)
    assert sorted(case for part in parts for case in part) == sorted(ids) and len(parts) == 3
    with pytest.raises(SettingsError, match="1 patients with wholly labelled cases"):
        held_out(catalogue, replace(split, labelled=(ids[0], f"{ids[1]}:0")), 2)
    with pytest.raises(SettingsError, match="at least 2 are needed"):
        held_out(of_one_patient(catalogue), replace(split, labelled=ids), 2)


def of_one_patient(catalogue):
    return replace(catalogue, cases=tuple(replace(case, patient="p") for case in catalogue.cases))


def test_a_fold_learns_nothing_of_its_patients(finished):
    """Neither from a labelled slice of theirs, which would also make the fold's split one that is refused."""
    catalogue, split = read_catalogue(finished.run.catalogue), read_split(finished.run.split)
    first, twin, other, free = (case.id for case in catalogue.cases[:4])
    cases = tuple(replace(case, patient="p") if case.id in (first, twin) else case for case in catalogue.cases)
    catalogue = replace(catalogue, cases=cases)
    fold = _without(replace(split, labelled=(first, f"{twin}:0", other), unlabelled=(twin, free)), [first], catalogue)
    assert (fold.labelled, fold.unlabelled, fold.val, fold.test) == ((other,), (free,), (), (first,))


def test_a_model_of_other_folds_is_not_asked(tmp_path):
    """With fewer folds than before a fold holds patients that its old model learned from."""
    run = Run(tmp_path)
    fold = Split(labelled=("c",), test=("a", "b"))
    _check_same(fold, run)
    write_split(replace(fold, unlabelled=("d",)), run.split)
    _check_same(fold, run)
    write_split(Split(labelled=("b", "c"), test=("a",)), run.split)
    with pytest.raises(SettingsError, match="trained without a, and not without a, b; repeat the first call's --folds"):
        _check_same(fold, run)


@pytest.mark.parametrize(("median", "told"), [(0.05, True), (0.6, False)])
def test_poor_models_accuse_nobody(median, told):
    text = audit_text(LabelAudit(suspects=(), rows=(), folds=2, calibrated=None, median=median))
    assert ("median Dice 0.05), so little can be told of the masks; train them longer (--steps)" in text) == told


def test_one_fold_no_run_and_the_run_itself_are_refused(finished, tmp_path):
    with pytest.raises(SettingsError, match="--folds 1: at least 2"):
        audit_labels(finished.run.root, tmp_path, folds=1)
    with pytest.raises(SettingsError, match="the run itself; name another folder"):
        audit_labels(finished.run.root, finished.run.root)
    with pytest.raises(DataError, match=r"no run in it \(no split.json\)"):
        audit_labels(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.slow
def test_planted_wrong_masks_come_first(tmp_path, monkeypatch):
    data = tmp_path / "data"
    write_phantoms(data, patients=8, size=(3, 40, 36), frames=1)
    settings = parse_assignments(
        [
            "plan.size=[24,24]",
            "plan.flip=[]",
            "method.segmenter.width=4",
            "method.segmenter.dropout=0",
            "method.labelled_batch=6",
            "method.ema=0.9",
            "method.weak={rotation: 0}",  # without augmentation it learns in seconds
            "method.strong={}",
            "train.optimiser.lr=0.01",
            "train.workers=0",
            "train.threads=1",
            "train.validations=0",
            "train.precision=fp32",
        ]
    )
    catalogue = api.scan(data, quiet=True)
    wrong = catalogue.cases[2]
    raw, grid = formats.read_mask(wrong.label)
    formats.write_mask(wrong.label, np.roll(raw, (8, 7), axis=(1, 2)), grid, wrong.label)
    common = {"method": "supervised", "device": "cpu", "quiet": True}
    trained = {"train": settings["train"] | {"steps": 1}}
    run: Run = api.run(data, tmp_path / "run", val="1", settings=settings | trained, **common).run
    found = audit_labels(run.root, tmp_path / "audit", folds=2, steps=150, device="cpu", quiet=True)
    split = read_split(run.split)
    assert wrong.id in split.labelled and len(found.suspects) == len(split.labelled)
    assert found.suspects[0].case == wrong.id, audit_text(found)
    for fold in range(found.folds):
        roles = read_split(tmp_path / "audit" / "folds" / str(fold) / "split.json")
        assert not set(roles.test) & {*roles.labelled, *roles.unlabelled} and not roles.val
    with open(tmp_path / "audit" / "suspects.csv", newline="") as file:
        assert next(csv.DictReader(file))["case"] == wrong.id
    assert found.calibrated == len(split.labelled) + len(split.val)
    again = audit_labels(run.root, tmp_path / "audit", folds=2, steps=150, device="cpu", quiet=True)
    assert again.suspects == found.suspects and again.calibrated == found.calibrated
    monkeypatch.setattr(label_audit, "LEAST_DICE", 1.0)  # models as poor as that are not calibrated on
    assert audit_labels(run.root, tmp_path / "audit", folds=2, steps=150, device="cpu", quiet=True).calibrated is None
