"""Calibration rests on val alone, and what a run leaves behind is enough to judge new images."""

import csv
import json
from dataclasses import replace

import pytest

from fewmask import api
from fewmask.calibrate import calibrate, dice_of, points, val_folder
from fewmask.data.cache import Cache
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.predictors import load_model, model_hash
from fewmask.runs import Run
from fewmask.trust import WHOLE, Evidence, read_calibration, read_trust
from fewmask.trust.evidence import ClassEvidence


def seen(score):
    return ClassEvidence(
        agreement=[[None, score], [score, None]],
        soft_dice=[score, score],
        confidence=score,
        voxels=9,
        volume_ml=None,
        components=1,
        border=0.0,
    )


def test_points_pair_scores_with_dice_and_number_the_patients():
    cases = [
        Evidence(case=case, level="quick", members=["plain", "x"], classes=classes, image={}, descriptor=[])
        for case, classes in (("a", {"one": seen(0.8), "two": seen(0.4)}), ("b", {"one": seen(0.6), "two": seen(None)}))
    ]
    dice = {"a": {"one": 0.7, "two": 0.3}, "b": {"one": 0.5, "two": None}}
    found = {
        (p.case, p.name): p
        for p in points([*cases, replace(cases[0], case="no mask")], dice, dict.fromkeys(["a", "b", "no mask"], "p"))
    }
    assert len(found) == 6 and {point.group for point in found.values()} == {0}
    assert found[0, "one"].score["quick"] == pytest.approx(cases[0].classes["one"].score("quick"))
    assert found[0, WHOLE].dice == pytest.approx(0.5)
    assert found[1, "two"].score["quick"] is None and found[1, WHOLE].dice == pytest.approx(0.5)


def test_a_run_leaves_a_calibration_of_its_val_and_a_table_of_all_masks(finished):
    run, split = finished.run, read_split(finished.run.split)
    known = read_calibration(run.model, model_hash(run.model))
    assert known.cases == len(split.val) and known.source == "val"
    assert {tuple(sorted(point.score)) for point in known.points} == {("full", "quick")}
    rows = read_trust(run.predictions / "trust.csv")
    assert {row.case for row in rows} == {*split.val, *split.test, *split.unlabelled}
    assert (
        "student"
        in json.loads(next((run.predictions / "evidence").glob(f"{split.val[0]}.json")).read_text())["members"]
    )
    assert set(load_model(run.model).members) == {"student"}


def test_val_is_found_beside_test_and_alone(finished, tmp_path):
    assert val_folder(finished.run) == finished.run.evaluation / "val"
    alone = Run(tmp_path)
    assert val_folder(alone) is None and dice_of(None) == {}
    alone.evaluation.mkdir()
    (alone.evaluation / "summary.json").write_text('{"split": "val"}')
    assert val_folder(alone) == alone.evaluation


def test_test_cases_count_for_nothing(finished, tmp_path):
    """Without its test cases' evidence and masks a run is calibrated to the same numbers."""
    run = finished.run
    catalogue, split = read_catalogue(run.catalogue), read_split(run.split)
    root = next(path.parent for path in (run.root / "cache").rglob("images"))
    preparation = load_model(run.model).preparation
    from fewmask.data.cache import Preparation

    cache = Cache(root, Preparation(**preparation))
    before = read_calibration(run.model, model_hash(run.model))
    assert calibrate(run, catalogue, replace(split, test=()), cache) == before


def test_predict_judges_new_images_with_the_runs_calibration(finished, phantoms, tmp_path):
    image = read_catalogue(finished.run.catalogue).cases[0].images[0]
    api.predict(finished.run.root, image, tmp_path / "quick", device="cpu", quiet=True)
    api.predict(finished.run.root, image, tmp_path / "full", trust="full", device="cpu", quiet=True)
    api.predict(finished.run.root, image, tmp_path / "none", trust="none", device="cpu", quiet=True)
    assert not (tmp_path / "none" / "trust.csv").exists() and not (tmp_path / "none" / "evidence").exists()
    levels = {}
    for level in ("quick", "full"):
        with open(tmp_path / level / "trust.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["class"] == WHOLE and len(rows) == 1 + len(load_model(finished.run.model).labels.names[1:])
        levels[level] = {row["opinions"] for row in rows}
    assert levels == {"quick": {"quick"}, "full": {"full"}}
    masks = {level: next((tmp_path / level).glob("*.nii.gz")).read_bytes() for level in ("quick", "full", "none")}
    assert len(set(masks.values())) == 1, "asking for opinions changes no mask"
