"""Tables and JSON that commands print."""

from __future__ import annotations

import json
from pathlib import Path

from fewmask import listing
from fewmask.data.catalogue import Catalogue
from fewmask.job import Outcome
from fewmask.runs import Run
from fewmask.types import Case, LabelSet, Split


def catalogue() -> Catalogue:
    cases = tuple(
        Case(id=f"p{i}_{frame}", patient=f"p{i}", images=(Path(f"{i}.png"),), label=Path("m.png") if i else None)
        for i in range(3)
        for frame in "ab"
    )
    return Catalogue(
        name="set",
        channels=("grey",),
        labels=LabelSet(names=("background", "lesion"), values=(0, 255), ignore=7),
        planar=True,
        layout="image_pairs",
        cases=cases,
        lists={"train": ("p0_a", "p0_b")},
        findings=("a finding",),
    )


def test_table_aligns_and_spells_values() -> None:
    rows = [{"key": "a", "value": None, "x": [1, 0.5]}, {"key": "long", "value": True, "x": 1e-3}]
    assert listing.table(rows) == "key   value  x\na     null   [1, 0.5]\nlong  true   0.001"
    assert listing.table([]) == ""


def test_catalogue() -> None:
    values = listing.catalogue_json(catalogue())
    assert (values["cases"], values["patients"], values["with_mask"]) == (6, 3, 4)
    assert values["labels"] == {"background": 0, "lesion": 255}
    assert json.loads(json.dumps(values)) == values
    text = listing.catalogue_text(catalogue(), Path("out"))
    assert "labels    0 background, 255 lesion; 7 is ignored" in text
    assert "note      a finding" in text
    assert text.splitlines()[-1] == "catalogue out"


def test_split() -> None:
    split = Split(labelled=("p1_a:3", "p1_a:5"), unlabelled=("p0_a", "p0_b", "p1_b"), val=("p2_a", "p2_b"))
    assert listing.split_json(split, catalogue(), {"lesion": 0}) == {
        "labelled": {"cases": 1, "patients": 1},
        "unlabelled": {"cases": 3, "patients": 2},
        "val": {"cases": 2, "patients": 1},
        "test": {"cases": 0, "patients": 0},
        "labelled_voxels": {"lesion": 0},
    }
    lines = listing.split_text(["labelled: 1 patient"], {"lesion": 0, "nerve": 1234}, Path("split.json")).splitlines()
    assert lines[1:3] == [
        "labelled voxels: lesion 0, nerve 1,234",
        "no labelled image shows lesion; it cannot be learnt",
    ]
    assert listing.split_text(["a"], None, Path("split.json")).splitlines() == ["a", "split split.json"]


def test_summary_with_and_without_intervals() -> None:
    interval = {"mean": 0.81234, "low": 0.7, "high": 0.9}
    summary = {
        "dice": interval,
        "hd95_mm": {"mean": None, "low": None, "high": None},
        "per_class": {"lesion": {"dice": {"mean": 0.5, "low": None, "high": None}, "hd95_mm": None}},
        "cases": 3,
        "split": "test",
        "missed": 2,
        "hallucinated": 0,
    }
    assert listing.measures(summary) == ["dice", "hd95_mm"]
    lines = listing.summary_text(summary).splitlines()
    assert lines[1].split(maxsplit=1)[1].startswith("0.812 [0.700, 0.900]")
    assert lines[2].split() == ["lesion", "0.500", "-"]
    assert lines[3] == "3 cases, split test, 2 missed"


def test_the_next_command_can_be_pasted() -> None:
    run = Run(Path("ü 1"))
    outcome = Outcome(run=run, predictions=(), summaries={}, report=run.report)
    assert "fewmask predict 'ü 1' IMAGES --out DIR" in listing.outcome_text(outcome)


def test_a_comparison_in_words() -> None:
    row = {"method": "bcp", "labelled": "3", "repeats": [{}, {}], "first": 0.5, "minutes": 12.0}
    row["dice"] = {"mean": 0.8, "low": 0.7, "high": 0.9}
    found = {"scores": [row, {**row, "first": None, "minutes": None}], "verdicts": ["v"], "failed": {"cell": "why"}}
    lines = listing.comparison_text({**found, "curves": [{"verdict": "c"}]}, Path("x/comparison.html")).splitlines()
    assert lines[1].split() == ["bcp", "3", "2", "0.800", "[0.700,", "0.900]", "50", "%", "12.0"]
    assert lines[2].split()[-2:] == ["-", "-"]
    assert lines[3:] == ["", "v", "c", "", "failed: cell: why", "", "page x/comparison.html"]


def test_an_audit_of_two_networks_has_their_names() -> None:
    dice = {"mean": 0.5, "low": 0.4, "high": 0.6}
    found = {
        "split": "val",
        "cases": 3,
        "pair": ["auxiliary", "sampled"],
        "dice": {"auxiliary": dice, "sampled": dice, "one_step": dice},
        "differences": {"sampled - auxiliary": dice, "sampled - one_step": dice},
        "verdict": "The labels of sampled are better.",
    }
    lines = listing.audit_text(found).splitlines()
    assert lines[2].split(maxsplit=2)[2] == "sampled - this"
    assert [line.split()[0] for line in lines[3:6]] == ["auxiliary", "sampled", "one_step"]
    assert lines[4].split(maxsplit=1)[1] == "0.500 [0.400, 0.600]"
