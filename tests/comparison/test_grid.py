"""What may be compared with what, and how it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewmask.comparison.grid import EXEMPLAR, make_grid, read_entry, slug, split_list
from fewmask.errors import SettingsError

OUT = Path("out")


def test_a_seed_of_all_methods_comes_before_the_next() -> None:
    grid = make_grid(["supervised", "fixmatch"], ["1", "3"], [], [0, 5], OUT)
    assert [(cell.seed, cell.budget.name, cell.entry.label) for cell in grid.cells[:5]] == [
        (0, "1", "supervised"),
        (0, "1", "fixmatch"),
        (0, "3", "supervised"),
        (0, "3", "fixmatch"),
        (5, "1", "supervised"),
    ]
    assert len({cell.folder for cell in grid.cells}) == 8
    assert grid.cells[0].folder == OUT / "cells" / "supervised-1-0"


def test_exemplars_are_draws_of_one_budget() -> None:
    grid = make_grid(["supervised"], ["3"], ["a", "b:4"], [0], OUT)
    assert [(budget.name, budget.group) for budget in grid.budgets] == [("3", "3"), ("a", EXEMPLAR), ("b:4", EXEMPLAR)]


def test_a_method_may_have_settings_of_its_own_or_be_a_recipe() -> None:
    variant = read_entry("diffrect+diffuse=false+width=4")
    request = variant.request(("acdc-3",), {"train": {"steps": 9}, "method": {"burn_in": 0.1}})
    assert (request.method, request.recipes) == ("diffrect", ("acdc-3",))
    assert request.settings == {"train": {"steps": 9}, "method": {"burn_in": 0.1, "diffuse": False, "width": 4}}
    published = read_entry("unimatch-published").request(("acdc-3",), {})
    assert (published.method, published.recipes) == (None, ("unimatch-published", "acdc-3"))
    assert read_entry("auto").method == "auto"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((["fixmatch", "fixmatch"], ["1"], [], [0]), "--methods: 'fixmatch' is named twice"),
        ((["fixmatch"], ["1", "1"], [], [0]), "--labelled: '1' is named twice"),
        ((["fixmatch"], ["1"], [], [0, 0]), "--seeds: '0' is named twice"),
        ((["fixmatch"], [], ["a", "a"], [0]), "--exemplars: 'a' is named twice"),
        ((["fixmach"], ["1"], [], [0]), "unknown method 'fixmach'; did you mean 'fixmatch'"),
        ((["acdc-3"], ["1"], [], [0]), "recipe acdc-3 names no method; give it as --recipe"),
        ((["fixmatch"], [], [], [0]), "--labelled: name at least one"),
        ((["fixmatch+cutmix"], ["1"], [], [0]), "'cutmix' is no setting"),
        ((["fixmatch"], ["3"], ["a", "3"], [0]), "--labelled and --exemplars: '3' is named twice"),
        ((["fixmatch"], ["1"], [], []), "--seeds: name at least one whole number"),
        ((["fixmatch"], ["1"], [], [-1]), "--seeds: name at least one whole number from 0 on"),
        (([], ["1"], [], [0]), "--methods: name at least one"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, message) -> None:
    with pytest.raises(SettingsError, match=message):
        make_grid(*asked, OUT)


def test_commas_inside_brackets_separate_nothing() -> None:
    assert split_list("a, bcp+box=[1,2],,c+x={y: 1, z: 2}") == ["a", "bcp+box=[1,2]", "c+x={y: 1, z: 2}"]


def test_different_names_have_different_folders() -> None:
    names = ["3", "10%", "lists/a.txt", "lists-a.txt", "bcp+box=0.5", "bcp-box-0.5", "x" * 99, "x" * 98]
    assert len({slug(name) for name in names}) == len(names)
    assert all("/" not in slug(name) and len(slug(name)) < 70 for name in names)
