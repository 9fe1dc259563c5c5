"""What several runs say together, and what stands in the way of comparing them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fewmask.data import formats
from fewmask.report import comparison, gallery
from fewmask.report.page import join
from fewmask.report.record import read_records


@pytest.fixture(scope="module")
def record(run):
    return read_records([run])[0]


def text(content) -> str:
    return " ".join(re.sub("<[^>]+>", " ", join(content)).split())


def test_table_has_a_row_per_run_with_the_score_of_test(record):
    unscored = replace(record, name="other", evaluations=(), log=[])
    drawn = text(comparison.results([record, unscored]))
    dice = record.main.summary["dice"]
    assert f"FixMatch 2 200 3 0.800 test (5) {dice['mean']:.3f} {dice['low']:.3f}–{dice['high']:.3f}" in drawn
    assert "other FixMatch 2 0 3 – – – – – – –" in drawn
    assert "HD95, mm" in drawn and "Dice per class" in drawn


def test_unequal_runs_are_warned_of(record):
    other = replace(
        record,
        name="other",
        config=dict(record.config, train={"steps": 400, "seed": 3}),
        split=dict(record.split, test=record.split["test"][1:]),
    )
    said = " ".join(comparison.cautions([record, other]))
    assert "given different splits" in said and "different budgets of steps: r<u>n & one 200, other 400" in said
    assert record.catalogue.findings[0] not in said
    assert "different" not in " ".join(comparison.cautions([record, replace(record, name="other")]))


def test_the_same_cases_are_shown_for_every_run(record, split):
    other = replace(record, name="other", split=dict(record.split, test=list(split.test[1:])))
    shared = comparison._shared_choices([record, other])
    assert {choice.case for choice in shared if choice.role == "test"} <= set(split.test[1:])
    assert [choice.case for choice in shared if choice.role == "unlabelled"] == [
        split.unlabelled[0],
        split.unlabelled[2],
    ]


def test_every_run_shows_the_same_slices_of_a_case(make_run, split, tmp_path):
    """Predictions that lie apart, one by slices and one in 3-D; around the reference where it may be opened."""
    runs = [make_run(tmp_path / f"{dims}-{shift}", dims=dims, shift=shift) for dims, shift in ((3, 0), (3, 4), (2, 1))]
    records = read_records(runs)
    drawn = join(comparison.masks(records))
    cases = drawn.split("<h3>")[1:]
    assert len(cases) == 5  # three of test, two unlabelled
    for case in cases:
        captions = re.findall("<figcaption>(.*?)</figcaption>", case)
        assert len(captions) == 9 and captions[:3] == captions[3:6] == captions[6:]

    choices = comparison._shared_choices(records)
    for choice in choices:
        found = gallery.common_framing(records, choice)
        reference = records[0].catalogue.by_id[choice.case].label
        if choice.role == "test":
            assert np.array_equal(found.focus, formats.read_mask(reference)[0] > 0)
        else:
            masks = [formats.read_mask(record.run.predictions / f"{choice.case}.nii.gz")[0] for record in records]
            assert np.array_equal(found.focus, np.any(np.stack(masks) > 0, axis=0))
