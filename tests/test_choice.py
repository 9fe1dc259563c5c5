"""The rule of `auto`, and that it stands in the documentation as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewmask.choice import BASE, RULES, choose_method
from fewmask.resolution import method_names

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "choosing-a-method.md"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dims": 2, "labelled": 3, "classes": 3}, "fixmatch"),
        ({"dims": 2, "labelled": 2, "classes": 6}, "fixmatch"),
        ({"dims": 2, "labelled": 6, "classes": 1}, "fixmatch"),
        ({"dims": 2, "labelled": 1, "classes": 3}, "supervised"),
        ({"dims": 2, "labelled": 7, "classes": 3}, "supervised"),
        ({"dims": 2, "labelled": 3, "classes": 7}, "supervised"),
        ({"dims": 3, "labelled": 3, "classes": 3}, "supervised"),
    ],
)
def test_the_rule(given, expected) -> None:
    assert choose_method(unlabelled=True, **given)[0] == expected


def test_without_unlabelled_images_there_is_nothing_else_to_learn_from() -> None:
    method, reason = choose_method(unlabelled=False, dims=2, labelled=3, classes=3)
    assert (method, reason) == ("supervised", "no image is unlabelled")


def test_the_reason_says_what_is_not_known() -> None:
    _, reason = choose_method(unlabelled=True, dims=3, labelled=1, classes=2)
    assert "3-D with 1 labelled patient and 2 structures" in reason and "--method" in reason


def test_the_page_has_every_rule_with_its_range_and_method() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = method_names()
    assert BASE in names
    assert all(rule.method in names for rule in RULES)
    rows = [line.split(" | ")[:4] for line in page.splitlines() if line.startswith(("| 2-D | ", "| 3-D | "))]
    rows = [row for row in rows if row[2].startswith("up to ")]
    told = [(f"| {r.dims}-D", "{} to {}".format(*r.labelled), f"up to {r.classes}", f"`{r.method}`") for r in RULES]
    assert [tuple(row) for row in rows] == told
