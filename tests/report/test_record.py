"""What a run folder says, and what is said where it is broken."""

import shutil

import numpy as np
import pytest

from fewmask.errors import DataError
from fewmask.report.record import read_records


@pytest.fixture(scope="module")
def record(run):
    return read_records([run])[0]


def test_roles_and_progress(record, split):
    assert record.method == "fixmatch" and record.name == "r<u>n & one"
    assert (record.step, record.budget, record.complete, record.minutes) == (200, 200, True, 100 / 60)
    assert record.best == (200, pytest.approx(0.8))
    assert record.role("labelled") == (split.labelled[0], split.labelled[1].removesuffix(":2"))
    assert record.patients("labelled") == 1 and record.patients("test") == 5


def test_evaluations_come_test_first_and_other_weights_last(record):
    assert [(found.split, found.weights) for found in record.evaluations] == [
        ("test", ""),
        ("val", ""),
        ("test", "last"),
    ]
    assert record.main is record.evaluations[0] and len(record.scored) == 2
    assert record.main.protocol == "mm" and record.main.distances == ("hd95_mm", "assd_mm")


def test_scores_per_case_and_class(record, catalogue):
    name = catalogue.labels.names[3]
    notes = record.main.notes(name)
    assert notes == {"missed": 1, "hallucinated": 0, "both_empty": 1}  # cases 8 and 9
    assert len(record.main.dice(name)) == 4 and record.main.count == 5
    ranking = record.main.ranking
    assert [dice for _, dice in ranking] == sorted(dice for _, dice in ranking)
    rows = [row.values["dice"] for row in record.main.rows if row.case == ranking[0][0] and "dice" in row.values]
    assert ranking[0][1] == np.mean(rows)


def test_folders_without_weights_are_no_model(record, tmp_path):
    """As a kill leaves them: the description is written first, the weights last."""
    shutil.copytree(record.run.root, tmp_path / "run")
    for part in ("model", "best"):
        (tmp_path / "run" / part / "model.safetensors").unlink()
        (tmp_path / "run" / part / "model.json").touch()
    (killed,) = read_records([tmp_path / "run"])
    assert not killed.complete and killed.checkpoint == "the last checkpoint (step 200)"
    assert record.complete and "best Dice on val" in record.checkpoint


def test_names_are_the_shortest_that_differ(run, tmp_path):
    copies = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    for copy in copies:
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("predictions", "catalogue"))
    assert [record.name for record in read_records(copies)] == ["one/run", "two/run"]
    assert [record.name for record in read_records([run, run])] == ["r<u>n & one (1)", "r<u>n & one (2)"]


def test_a_run_outlives_its_images(run, catalogue, tmp_path):
    copy = tmp_path / "far" / "away" / "run"  # the relative paths of its catalogue lead nowhere
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("predictions"))
    record = read_records([copy])[0]
    assert record.catalogue is None and "is not there" in record.without_pictures
    served = read_records([copy], catalogue)[0]
    assert served.catalogue is catalogue and served.without_pictures == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "a: [", r"config\.yaml: cannot be read"),
        ("config.yaml", "just text", r"config\.yaml: expected keys and values"),
        ("split.json", '{"labelled": [', r"split\.json: cannot be read"),
        ("log.jsonl", "{}\nnot json\n{}\n", r"log\.jsonl: a line is not JSON"),
        (
            "evaluation/metrics.csv",
            "case,dice\n",
            r"metrics\.csv: no column class; write it anew with `fewmask evaluate`",
        ),
    ],
)
def test_broken_files_are_named(run, tmp_path, name, content, message):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("predictions", "catalogue"))
    (copy / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_records([copy])


def test_a_log_cut_short_by_a_kill_is_read(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("predictions", "catalogue"))
    with open(copy / "log.jsonl", "a") as file:
        file.write('{"step": 210, "ter')
    assert read_records([copy])[0].step == 200
