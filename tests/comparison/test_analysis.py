"""Verdicts on cells of which it is known what they should say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fewmask.comparison.analysis import analyse
from fewmask.comparison.grid import EXEMPLAR, Cell
from fewmask.comparison.scores import read_scores
from fewmask.statistics import holm


def pair(found: dict, method: str, against: str) -> dict:
    (entry,) = [e for e in found["comparisons"] if (e["method"], e["against"]) == (method, against)]
    return entry


def move(cell: Cell, shift: float) -> None:
    """Add to every Dice of a finished cell."""
    table = cell.run.evaluation / "metrics.csv"
    head, *rows = (line.split(",") for line in table.read_text().splitlines())
    moved = [[*row[:3], str(float(row[3]) + shift), *row[4:]] for row in rows]
    table.write_text("\n".join(map(",".join, [head, *moved])) + "\n")


def test_a_gain_of_all_patients_in_three_seeds_is_established(make_cells) -> None:
    scores = read_scores(make_cells({"supervised": 0.0, "fixmatch": 0.05}), {"3": 3})
    entry = pair(analyse(scores), "fixmatch", "supervised")
    difference = scores.dice("fixmatch", "3") - scores.dice("supervised", "3")
    assert entry["difference"]["mean"] == pytest.approx(difference.mean())
    assert entry["difference"]["low"] < difference.mean() < entry["difference"]["high"]
    assert [told["difference"] for told in entry["repeats"]] == pytest.approx(difference.mean((1, 2)).tolist())
    of_patients = difference.mean((0, 2)).reshape(8, 2).mean(1)
    assert entry["p"] == entry["p_holm"] == pytest.approx(stats.wilcoxon(of_patients).pvalue)
    assert entry["established"]
    assert entry["verdict"].startswith("3 labelled: fixmatch gains +5.0 Dice over supervised [+4.")
    assert entry["verdict"].endswith("], p = 0.008: established")


def test_two_seeds_make_no_claim(make_cells) -> None:
    scores = read_scores(make_cells({"supervised": 0.0, "fixmatch": 0.05}, seeds=(0, 1)), {"3": 3})
    (verdict,) = analyse(scores)["verdicts"]
    assert verdict.endswith(": not established (2 seeds, a claim takes 3)")


def test_a_gain_that_changes_from_seed_to_seed_is_not_established(make_cells) -> None:
    """All patients gain in all seeds, but by 0.01, 0.02 and 0.12: a fourth seed could say anything."""
    grid = make_cells({"supervised": 0.0, "fixmatch": 0.0})
    for cell in grid.cells:
        if cell.entry.label == "fixmatch":
            move(cell, (0.01, 0.02, 0.12)[cell.seed])
    entry = pair(analyse(read_scores(grid, {"3": 3})), "fixmatch", "supervised")
    assert entry["p_holm"] < 0.05 and entry["difference"]["low"] > 0
    assert entry["verdict"].endswith(": not established (it changes too much from seed to seed)")


def test_a_difference_that_is_luck_is_not_established(make_cells) -> None:
    luck = np.random.default_rng(3).normal(0.01, 0.08, (16, 2))
    entry = pair(analyse(read_scores(make_cells({"supervised": 0.0, "bcp": luck}), {"3": 3})), "bcp", "supervised")
    assert not entry["established"] and entry["difference"]["low"] < 0 < entry["difference"]["high"]
    assert entry["verdict"].endswith(": not established")


def test_each_is_held_against_supervised_and_the_best_other_which_val_chooses(make_cells) -> None:
    """cps is best on val, unimatch on test: the choice must not look at what is reported."""
    shifts = {"supervised": 0.0, "fixmatch": 0.03, "unimatch": 0.06, "cps": 0.02}
    val = {"supervised": 0.5, "fixmatch": 0.6, "unimatch": 0.61, "cps": 0.7}
    found = analyse(read_scores(make_cells(shifts, val=val), {"3": 3}))
    pairs = [(entry["method"], entry["against"]) for entry in found["comparisons"]]
    assert pairs == [
        ("fixmatch", "supervised"),
        ("fixmatch", "cps"),
        ("unimatch", "supervised"),
        ("unimatch", "cps"),
        ("cps", "supervised"),
        ("cps", "unimatch"),
    ]
    hypotheses = found["comparisons"][:-1]  # cps against unimatch is unimatch against cps
    raw = [entry["p"] for entry in hypotheses]
    assert [entry["p_holm"] for entry in hypotheses] == pytest.approx(holm(raw))
    assert max(entry["p_holm"] for entry in hypotheses) > max(raw)
    one, other = pair(found, "cps", "unimatch"), pair(found, "unimatch", "cps")
    assert (one["p"], one["p_holm"]) == (other["p"], other["p_holm"])
    assert one["difference"]["mean"] == pytest.approx(-other["difference"]["mean"])
    assert "loses" in one["verdict"] and "gains" in other["verdict"]


def test_without_val_for_one_all_are_chosen_by_what_is_reported(make_cells) -> None:
    """A Dice on val is not to be held against one on test."""
    grid = make_cells({"supervised": 0.0, "cps": 0.02, "bcp": 0.06}, val={"supervised": 0.5, "cps": 0.9, "bcp": 0.6})
    for cell in grid.cells:
        if cell.entry.label == "bcp":
            (cell.run.evaluation / "val" / "summary.json").unlink()
    found = analyse(read_scores(grid, {"3": 3}))
    assert [entry["against"] for entry in found["comparisons"] if entry["method"] == "supervised"] == []
    assert {entry["against"] for entry in found["comparisons"] if entry["kind"] == "best"} == {"bcp", "cps"}


def test_correction_is_by_budget(make_cells) -> None:
    found = analyse(read_scores(make_cells({"supervised": 0.0, "bcp": 0.04}, {"1": -0.2, "3": 0.0}), {"1": 1, "3": 3}))
    assert [entry["labelled"] for entry in found["comparisons"]] == ["1", "3"]
    assert all(entry["p"] == entry["p_holm"] for entry in found["comparisons"])


def test_ranks_add_up_and_follow_the_means(make_cells) -> None:
    found = analyse(read_scores(make_cells({"supervised": 0.0, "bcp": 0.001, "cps": -0.1}), {"3": 3}))
    first = {row["method"]: row["first"] for row in found["scores"]}
    assert sum(first.values()) == pytest.approx(1)
    assert first["cps"] == 0 and 0.05 < first["supervised"] < 0.95 and 0.05 < first["bcp"] < 0.95
    equal = np.zeros((16, 2))
    scores = read_scores(make_cells({"supervised": equal}, {"9": 0.0}), {"9": 9})
    assert analyse(scores)["scores"][0]["first"] is None  # alone there is no rank


def test_ranks_are_of_the_seeds_that_all_have(make_cells) -> None:
    """supervised lacks the seed in which bcp is far ahead; in the others it is behind."""
    grid = make_cells({"supervised": 0.0, "bcp": 0.0})
    for cell in grid.cells:
        if cell.entry.label == "bcp":
            move(cell, (0.3, -0.02, -0.02)[cell.seed])
        elif cell.seed == 0:
            (cell.folder / "cell.json").unlink()
    first = {row["method"]: row["first"] for row in analyse(read_scores(grid, {"3": 3}))["scores"]}
    assert first == {"supervised": 1.0, "bcp": 0.0}


def test_a_gain_against_which_most_patients_go_is_not_established(make_cells) -> None:
    """All lose in the common class; the rare one, which the first patient alone has, gains, and weighs as much."""
    before = np.tile([0.0, np.nan], (16, 1))
    before[:2, 1] = 0.0
    after = before - [0.01, 0.0]
    after[:2] = [-0.06, 0.05]
    entry = pair(analyse(read_scores(make_cells({"supervised": before, "bcp": after}), {"3": 3})), "bcp", "supervised")
    assert entry["difference"]["low"] > 0 and entry["p_holm"] < 0.01 and entry["rank_biserial"] == -1
    assert entry["verdict"].endswith(": not established (most patients go the other way)")


def test_a_row_a_method_with_its_spread_and_cost(make_cells) -> None:
    scores = read_scores(make_cells({"supervised": 0.0, "bcp": 0.04}), {"3": 3})
    row = analyse(scores)["scores"][1]
    dice = scores.dice("bcp", "3")
    assert row["dice"]["mean"] == pytest.approx(dice.mean())
    assert row["per_class"] == pytest.approx({"left": dice[..., 0].mean(), "right": dice[..., 1].mean()})
    assert row["per_patient"]["p0"] == pytest.approx(dice[:, :2].mean())
    assert [told["dice"] for told in row["repeats"]] == pytest.approx(dice.mean((1, 2)).tolist())
    assert (row["minutes"], row["memory_mb"], row["gpu_memory_mb"]) == (2.0, 700, None)


def test_only_seeds_that_both_have_are_compared(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "bcp": 0.04})
    (grid.cells[1].folder / "cell.json").unlink()  # bcp, seed 0
    entry = pair(analyse(read_scores(grid, {"3": 3})), "bcp", "supervised")
    assert [told["seed"] for told in entry["repeats"]] == [1, 2]


def test_exemplars_are_repeats_of_one_budget(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "bcp": 0.05}, {}, seeds=(0,), exemplars=("x", "y", "z"))
    entry = pair(analyse(read_scores(grid, {"x": 1, "y": 1, "z": 1})), "bcp", "supervised")
    assert entry["labelled"] == EXEMPLAR and entry["established"]
    assert entry["verdict"].startswith("1 exemplar: bcp gains")


def test_seeds_of_an_exemplar_are_no_further_exemplars(make_cells) -> None:
    """Nine runs of three exemplars that lie far apart: the interval is that of three."""
    grid = make_cells({"supervised": 0.0, "bcp": 0.05}, {}, exemplars=("x", "y", "z"))
    for cell in grid.cells:
        if cell.entry.label == "bcp":
            move(cell, {"x": -0.1, "y": 0.0, "z": 0.1}[cell.budget.name])
    widths = []
    for seeds in (3, 1):
        for cell in grid.cells:
            if cell.seed >= seeds:
                (cell.folder / "cell.json").unlink()
        entry = pair(analyse(read_scores(grid, {"x": 1, "y": 1, "z": 1})), "bcp", "supervised")
        assert len(entry["repeats"]) == 3 * seeds
        widths.append(entry["difference"]["high"] - entry["difference"]["low"])
    assert widths[0] > 0.15 and widths[0] == pytest.approx(widths[1], rel=0.05)


def test_what_is_seen_where_nothing_is_costs_as_much_in_the_pair_as_in_the_score(make_cells) -> None:
    """Half of the patients lack a class: supervised knows, bcp invents it there and is as good elsewhere."""
    knows, invents = np.zeros((16, 2)), np.zeros((16, 2))
    knows[:8, 1], invents[:8, 1] = np.nan, -1
    found = analyse(read_scores(make_cells({"supervised": knows, "bcp": invents}), {"3": 3}))
    base, bcp = (row["dice"]["mean"] for row in found["scores"])
    entry = pair(found, "bcp", "supervised")
    assert bcp - base == pytest.approx(-0.15, abs=0.02)
    assert entry["difference"]["mean"] == pytest.approx(bcp - base)
    assert entry["difference"]["low"] < bcp - base < entry["difference"]["high"]
    assert "loses" in entry["verdict"]
    knows[:12], invents[:12] = np.nan, -1  # six of eight patients have no class at all: no reason to look away
    found = analyse(read_scores(make_cells({"supervised": knows, "bcp": invents}, {"9": 0.0}), {"9": 9}))
    assert pair(found, "bcp", "supervised")["p"] < 0.05


def test_few_patients_have_means_and_no_test(make_cells) -> None:
    grid = make_cells({"supervised": 0.0, "bcp": 0.05})
    for cell in grid.cells:
        table = cell.run.evaluation / "metrics.csv"
        lines = [line for line in table.read_text().splitlines() if not line.startswith(("p4", "p5", "p6", "p7"))]
        table.write_text("\n".join(lines) + "\n")
    entry = pair(analyse(read_scores(grid, {"3": 3})), "bcp", "supervised")
    assert entry["p"] is None and entry["difference"]["low"] is None
    assert (
        entry["verdict"]
        == "3 labelled: bcp gains +5.0 Dice over supervised: not established (too few patients to test)"
    )


def test_more_tests_than_the_patients_bear_are_no_verdict_on_the_methods(make_cells) -> None:
    """Eight patients: p is 0.0078 at least, and times seven over 0.05, whatever the methods do."""
    shifts = {"supervised": 0.0, "fixmatch": 0.05, "unimatch": 0.1, "bcp": 0.15, "cps": 0.2}
    grid = make_cells(shifts, val=shifts)
    found = analyse(read_scores(grid, {"3": 3}))
    assert len(found["comparisons"]) == 8 and not any(entry["established"] for entry in found["comparisons"])
    assert found["verdicts"][0].endswith(": not established (of 8 patients no p is small enough for 7 tests)")


def test_curves_need_three_budgets(make_cells) -> None:
    budgets = {"1": -0.3, "2": -0.2, "4": -0.13}
    scores = read_scores(make_cells({"supervised": 0.0}, budgets), {"1": 1, "2": 2, "4": 4})
    (entry,) = analyse(scores, with_curve=True)["curves"]
    assert entry["patients"] == [1, 2, 4] and entry["to"] == 8 and 0 < entry["gain"]["mean"] < 0.13
    assert entry["gain"]["low"] <= entry["gain"]["mean"] <= entry["gain"]["high"]

    def told(patients: dict[str, int]) -> str:
        (entry,) = analyse(read_scores(scores.grid, patients), with_curve=True)["curves"]
        assert not entry["known"] and "patients" not in entry
        return entry["verdict"]

    unknown = "supervised: the data do not tell what more labelled patients would bring (2 budgets finished, a curve "
    assert told({"1": 1, "2": 2, "4": 2}) == f"{unknown}takes 3)."
    table = next(cell for cell in scores.grid.cells if cell.budget.name == "4").run.evaluation / "metrics.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join([",".join(rows[0]), *(",".join([*row[:3], "", "", "", ""]) for row in rows[1:])]) + "\n")
    for cell in scores.grid.cells:
        if cell.budget.name == "4" and cell.seed:
            (cell.folder / "cell.json").rename(cell.folder / "kept.json")
    assert told({"1": 1, "2": 2, "4": 4}) == f"{unknown}takes 3)."  # no class seen
    for cell in scores.grid.cells:
        if cell.budget.name == "4":
            (cell.folder / "cell.json").unlink(missing_ok=True)
    assert told({"1": 1, "2": 2, "4": 4}) == f"{unknown}takes 3)."


def test_a_curve_of_two_seeds_tells_nothing(make_cells) -> None:
    grid = make_cells({"supervised": 0.0}, {"1": -0.3, "2": -0.2, "4": -0.13}, seeds=(0, 1))
    (entry,) = analyse(read_scores(grid, {"1": 1, "2": 2, "4": 4}), with_curve=True)["curves"]
    assert not entry["known"] and "would bring (2 seeds, a claim takes 3); " in entry["verdict"]
