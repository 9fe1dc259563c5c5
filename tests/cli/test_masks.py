"""triage, suggest, audit-labels and apply-review as a user types them, and what they say to mistakes."""

import csv
import json

from fewmask.data.split_file import read_split
from fewmask.review import mask_hash, prediction_of


def test_triage_prints_and_writes_the_worklist(fewmask, finished, tmp_path):
    root = finished.run.root
    status, out, _ = fewmask("triage", root, "--target-dice", "0.8", "--out", tmp_path / "work.csv")
    assert status == 0 and "accept 0 of" in out and "ranking only" in out
    with open(tmp_path / "work.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == set(read_split(finished.run.split).unlabelled)
    status, out, _ = fewmask("triage", root, "--target-dice", "0.8", "--json")
    assert [row["case"] for row in json.loads(out)["review"]] == [row["case"] for row in rows]


def test_suggest_lists_patients(fewmask, finished):
    status, out, _ = fewmask("suggest", finished.run.root, "-n", "2", "--json")
    assert status == 0 and len(json.loads(out)) == 2
    status, out, _ = fewmask("suggest", finished.run.root, "-n", "1", "--strategy", "random", "--seed", "3")
    assert status == 0 and "drawn at random" in out


def test_apply_review_makes_the_next_rounds_data(fewmask, finished, tmp_path):
    case = read_split(finished.run.split).unlabelled[0]
    entry = {"case": case, "decision": "accept", "mask": mask_hash(prediction_of(finished.run, case))}
    path = tmp_path / "review.json"
    path.write_text(json.dumps({"format": 1, "run": str(finished.run.root), "reviews": [entry]}))
    status, out, _ = fewmask("apply-review", path, "--out", tmp_path / "next", "--json")
    assert status == 0 and json.loads(out)["accepted"] == [case]
    assert (tmp_path / "next" / "cases.csv").is_file()


def test_mistakes_are_one_line_with_their_status(fewmask, finished, tmp_path, one_line):
    root = finished.run.root
    for words, expected, said in (
        (("triage", root, "--target-dice", "2"), 2, "--target-dice 2"),
        (("triage", tmp_path, "--target-dice", "0.9"), 3, "no model"),
        (("suggest", root, "-n", "0"), 2, "-n 0"),
        (("suggest", tmp_path), 3, "no run in it"),
        (("audit-labels", root, "--out", tmp_path / "a", "--folds", "1"), 2, "--folds 1"),
        (("apply-review", tmp_path / "none.json"), 3, "no such file"),
        (("predict", root, tmp_path, "--out", tmp_path / "m", "--trust", "ful"), 2, "did you mean 'full'"),
    ):
        status, _, err = fewmask(*words)
        assert status == expected, err
        assert said in one_line(err)
    (tmp_path / "notes.log").write_text("no image")
    status, _, err = fewmask("predict", root, tmp_path / "notes.log", "--out", tmp_path / "m")
    assert status == 3 and "unknown kind of file" in one_line(err)
    assert not (tmp_path / "a").exists() and not (tmp_path / "m").exists()
