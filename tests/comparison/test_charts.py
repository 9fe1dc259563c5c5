"""The chart of budgets: a line a method, a bar an interval."""

from __future__ import annotations

from fewmask.comparison.charts import budget_chart

BAR = {"mean": 0.7, "low": 0.6, "high": 0.8}


def test_every_method_has_a_line_and_every_interval_a_bar() -> None:
    dice = {"1": BAR, "3": {**BAR, "low": None, "high": None}}
    rows = [
        {"method": method, "labelled": labelled, "dice": dice[labelled]}
        for method in ("a", "b")
        for labelled in ("3", "1")
    ]
    budgets = [{"labelled": "1", "patients": 1}, {"labelled": "3", "patients": 3}]
    curve = {"method": "b", "ceiling": 0.9, "drop": 0.3, "power": 1.0, "to": 6}
    found = {"budgets": budgets, "scores": rows, "curves": []}
    plain = budget_chart(found, ["a", "b"])
    fitted = budget_chart({**found, "curves": [curve]}, ["a", "b"])
    drawn = [
        {colour: chart.svg.lower().count(f"stroke: {colour.lower()}".encode()) for _, colour in chart.legend}
        for chart in (plain, fitted)
    ]
    (a, b), (a_fitted, b_fitted) = (counts.values() for counts in drawn)
    assert a == b == a_fitted == b_fitted - 1
    assert [name for name, _ in plain.legend] == ["a", "b"]
    assert b">6<" in fitted.svg and b">6<" not in plain.svg
    assert "dashed" in fitted.note and "dashed" not in plain.note


def test_one_budget_is_drawn_too() -> None:
    rows = [{"method": "a", "labelled": "3", "dice": BAR}]
    chart = budget_chart({"budgets": [{"labelled": "3", "patients": 3}], "scores": rows}, ["a"])
    assert b">3<" in chart.svg
