"""The page is whole, small, self-contained, and says what comparison.json says."""

from __future__ import annotations

import html
from pathlib import Path

from fewmask.comparison.analysis import analyse
from fewmask.comparison.page import write_page
from fewmask.comparison.scores import read_scores

MORE = {
    "name": "hearts <b>",
    "seeds": [0, 1, 2],
    "failed": {"cps, 3 labelled, seed 1": "ended by SIGKILL"},
    "unfinished": ["cps, 3 labelled, seed 2"],
    "command": "fewmask compare hearts",
    "git_commit": "abc",
    "steps": [30],
}


def test_a_page_of_many_methods(make_cells, tmp_path: Path) -> None:
    shifts = {"supervised": 0.0, "fixmatch": 0.03, "unimatch": 0.06, "cps": 0.02, "bcp": 0.01, "ua_mt": 0.0}
    budgets = {"1": -0.3, "3": -0.1, "7": 0.0}
    scores = read_scores(make_cells(shifts, budgets), {"1": 1, "3": 3, "7": 7})
    found = {**MORE, **analyse(scores, with_curve=True)}
    write_page(found, tmp_path / "comparison.html")
    text = (tmp_path / "comparison.html").read_text()
    assert len(text) < 5e6 and "<script" not in text and "http://" not in text.replace("http://www.w3.org", "")
    assert "hearts &lt;b&gt;" in text
    for told in (*found["verdicts"], *(entry["verdict"] for entry in found["curves"])):
        assert html.escape(told, quote=False) in text
    for part in (
        "Dice against the number of labelled patients",
        "ranks first",
        "minutes of training",
        "ended by SIGKILL",
    ):
        assert part in text
    assert text.count('alt="8 patients between') == 18


def test_a_page_of_a_single_method_and_budget(make_cells, tmp_path: Path) -> None:
    found = {**MORE, "seeds": [0], **analyse(read_scores(make_cells({"supervised": 0.0}, seeds=(0,)), {"3": 3}))}
    write_page(found, tmp_path / "comparison.html")
    text = (tmp_path / "comparison.html").read_text()
    assert "Nothing to compare yet" in text and "Fewer than three seeds" in text
    assert "different budgets of steps" not in text and "last checkpoint" in text


def test_three_exemplars_with_one_seed_are_no_few_repeats(make_cells, tmp_path: Path) -> None:
    for exemplars, few in ((("x", "y"), True), (("u", "v", "w"), False)):
        grid = make_cells({"supervised": 0.0, "bcp": 0.05}, {}, seeds=(0,), exemplars=exemplars)
        found = analyse(read_scores(grid, dict.fromkeys(exemplars, 1)))
        write_page({**MORE, "seeds": [0], **found}, tmp_path / "comparison.html")
        text = (tmp_path / "comparison.html").read_text()
        assert "Fewer than three seeds" not in text and ("Fewer than three exemplars" in text) == few


def test_unequal_budgets_of_steps_are_a_caution(make_cells, tmp_path: Path) -> None:
    scores = read_scores(make_cells({"supervised": 0.0, "unimatch": 0.05}), {"3": 3})
    write_page({**MORE, "steps": [3000, 31800], **analyse(scores)}, tmp_path / "comparison.html")
    assert "different budgets of steps (3,000 and 31,800)" in (tmp_path / "comparison.html").read_text()
