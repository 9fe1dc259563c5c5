"""Dice read back from what evaluation writes."""

from __future__ import annotations

import numpy as np
import pytest

from fewmask.dice_table import read_dice

METRICS = """case,patient,class,dice,note
p2_a,p2,wall,0.5,
p2_a,p2,cavity,,both_empty
p1_a,p1,wall,0.25,
p1_a,p1,cavity,1,
"""
GROUPS = "patient,frames,class,dice\nclip_b,3,tube,0.75\nclip_a,1,tube,\n"


@pytest.fixture
def table(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    return read_dice(tmp_path / "metrics.csv")


def test_cases_classes_and_patients_stand_in_the_order_of_the_file(table):
    assert table.rows == ("p2_a", "p1_a")
    assert table.patients == ("p2", "p1")
    assert table.classes == ("wall", "cavity")
    np.testing.assert_array_equal(table.dice, [[0.5, np.nan], [0.25, 1]])


def test_rows_are_given_in_the_order_asked_for(table):
    np.testing.assert_array_equal(table.of(["p1_a", "p2_a", "p1_a"])[:, 0], [0.25, 0.5, 0.25])
    with pytest.raises(KeyError, match="p3"):
        table.of(["p1_a", "p3"])


def test_groups_of_pictures_are_their_own_rows(tmp_path):
    (tmp_path / "groups.csv").write_text(GROUPS)
    table = read_dice(tmp_path / "groups.csv")
    assert table.rows == table.patients == ("clip_b", "clip_a")
    np.testing.assert_array_equal(table.dice, [[0.75], [np.nan]])
