"""Finished cells read back, and the table of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fewmask.comparison.scores import read_scores, write_table
from fewmask.errors import DataError


def test_what_was_left_is_read(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "fixmatch": 0.1}, {"3": 0.0, "1": -0.2})
    scores = read_scores(grid, {"3": 3, "1": 1})
    assert scores.methods == ("supervised", "fixmatch") and scores.groups == ("1", "3")
    assert scores.dice("fixmatch", "3").shape == (3, 16, 2)
    assert len(set(scores.patients)) == 8 and scores.results[0].classes == ("left", "right")
    assert list(scores.of("fixmatch", "1")) == [("1", 0), ("1", 1), ("1", 2)]


def test_cells_without_an_end_are_left_out(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "fixmatch": 0.1})
    for cell in grid.cells[1:]:
        (cell.folder / "cell.json").unlink()
    assert len(read_scores(grid, {"3": 3}).results) == 1
    (grid.cells[0].folder / "cell.json").unlink()
    assert read_scores(grid, {"3": 3}) is None


def test_other_cases_are_refused(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "fixmatch": 0.1}, seeds=(0,))
    table = grid.cells[1].run.evaluation / "metrics.csv"
    table.write_text(table.read_text().replace("p3-a", "q3-a"))
    with pytest.raises(DataError, match=r"scored other cases than .*--test"):
        read_scores(grid, {"3": 3})


def test_pictures_are_scored_by_patient_from_pooled_counts(make_cells) -> None:
    grid = make_cells({"supervised": 0.0}, seeds=(0,))
    pooled = grid.cells[0].run.evaluation / "groups.csv"
    lines = ["x,3,left,0.5,,", "x,3,right,,,both_empty", "y,1,left,1,,", "y,1,right,0,,"]
    pooled.write_text("\n".join(["patient,frames,class,dice,iou,note", *lines, ""]))
    (result,) = read_scores(grid, {"3": 3}).results
    assert result.rows == result.patients == ("x", "y")
    np.testing.assert_array_equal(result.dice, [[0.5, np.nan], [1, 0]])


def test_the_table_has_a_line_a_cell_and_the_names_of_the_metrics(make_cells, tmp_path: Path) -> None:
    grid = make_cells({"supervised": 0.0, "fixmatch": 0.1})
    write_table(read_scores(grid, {"3": 3}).results, tmp_path / "comparison.csv")
    with open(tmp_path / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == ["method", "labelled", "seed", "dice", "iou", "hd95_mm", "minutes"]
    assert [(row["method"], row["labelled"], row["seed"]) for row in rows[:2]] == [
        ("supervised", "3", "0"),
        ("fixmatch", "3", "0"),
    ]
    told = [rows[0][key] for key in ("hd95_mm", "minutes", "memory_mb", "gpu_memory_mb")]
    assert told == ["3.25", "2", "700", ""]
    assert rows[0]["val_dice"] == "0.5" and rows[0]["last_dice"] == rows[0]["dice"]  # nothing lies in evaluation/last
    assert float(rows[1]["dice"]) - float(rows[0]["dice"]) == pytest.approx(0.1, abs=0.005)


def test_the_last_checkpoint_stands_beside_the_chosen_one(make_cells) -> None:
    grid = make_cells({"supervised": 0.0}, seeds=(0,))
    last = grid.cells[0].run.evaluation / "last" / "summary.json"
    last.parent.mkdir()
    last.write_text('{"dice": {"mean": 0.25}}')
    (result,) = read_scores(grid, {"3": 3}).results
    assert result.last == 0.25 and result.val == 0.5
