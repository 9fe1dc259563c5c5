"""The sections of one run."""

import re
from dataclasses import replace

import pytest

from fewmask.report import single
from fewmask.report.page import join
from fewmask.report.record import read_records


@pytest.fixture(scope="module")
def record(run):
    return read_records([run])[0]


def text(content) -> str:
    return " ".join(re.sub("<[^>]+>", " ", join(content)).split())


def test_tiles_give_dice_with_its_interval_and_the_roles(record):
    tiles = [text(tile) for tile in single.tiles(record)]
    summary = record.main.summary["dice"]
    assert tiles[0].startswith(f"{summary['mean']:.3f} Dice on test 95 %: {summary['low']:.3f} to")
    assert tiles[1:] == [
        "2 labelled cases of 1 patient",
        "3 unlabelled cases of 3 patients",
        "2 val cases of 2 patients",
        "5 test cases of 5 patients",
    ]


def test_without_a_catalogue_the_scored_classes_are_named(record, catalogue):
    assert single.class_names(replace(record, catalogue=None)) == catalogue.labels.names


def test_a_run_before_its_first_step_has_no_empty_sections(record):
    bare = replace(record, evaluations=(), log=[], catalogue=None)
    drawn = text(single.one_run(bare))
    assert "Results" not in drawn and "Training" not in drawn and "Every case" not in drawn
    assert "Where this comes from" in drawn and "in 0 steps" in drawn
