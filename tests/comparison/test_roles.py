"""Who is scored: the same cases for every budget, or none of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fewmask.comparison.grid import make_grid
from fewmask.comparison.roles import REQUEST, shared_catalogue, shared_splits, split_path, write_shared
from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.order import Order
from fewmask.resolution import Request


@pytest.fixture
def order(phantoms: Path, tiny: dict) -> Order:
    return Order(data=phantoms, request=Request(settings=tiny), device="cpu", quiet=True, val="0", test="1")


def splits(order: Order, *labelled: str, out: Path):
    grid = make_grid(["supervised"], labelled, [], [0], out)
    return shared_splits(order, grid, shared_catalogue(order, out), out)


def test_a_larger_budget_contains_the_smaller_and_test_stays(order: Order, tmp_path: Path) -> None:
    one, two = splits(order, "1", "2", out=tmp_path).values()
    assert set(one.labelled) < set(two.labelled) and one.test == two.test and len(one.test) == 1


def test_budgets_that_would_be_scored_on_different_cases_are_refused(order: Order, tmp_path: Path) -> None:
    left = replace(order, val=None, test="0")  # val is what is left: whoever is labelled decides
    (three,) = splits(left, "3", out=tmp_path).values()
    assert len(three.val) == 1 and not three.test
    others = tmp_path / "others.txt"
    others.write_text("\n".join([*three.labelled[:2], *three.val]) + "\n")
    with pytest.raises(DataError, match=r"3 and .*others\.txt labelled would be scored on different cases \(1"):
        splits(left, "3", str(others), out=tmp_path / "out")


def test_what_cells_read_is_written_once(order: Order, tmp_path: Path) -> None:
    found = splits(order, "1", "2", out=tmp_path)
    catalogue = shared_catalogue(order, tmp_path)
    write_shared(order, tmp_path, catalogue, found)
    (tmp_path / REQUEST).touch()
    for budget, split in found.items():
        assert read_split(split_path(tmp_path, budget)) == split
    again = shared_catalogue(order, tmp_path)
    assert again.cases == catalogue.cases
    grid = make_grid(["supervised"], ["1", "2"], [], [0], tmp_path)
    assert shared_splits(order, grid, again, tmp_path) == found
    assert len(list((tmp_path / "cache").glob("*/images/*.npy"))) == len(catalogue.cases)


def test_a_list_that_names_others_now_is_another_comparison(order: Order, tmp_path: Path) -> None:
    """What is finished learnt from those of before."""
    out, listed = tmp_path / "out", tmp_path / "listed.txt"
    one, two = next(iter(splits(order, "2", out=tmp_path).values())).labelled
    listed.write_text(f"{one}\n")
    write_shared(order, out, shared_catalogue(order, out), splits(order, str(listed), out=out))
    listed.write_text(f"{two}\n")
    splits(order, str(listed), out=out)  # no comparison began
    (out / REQUEST).touch()
    with pytest.raises(
        SettingsError, match=r"holds another comparison: with .*listed\.txt labelled other cases played"
    ):
        splits(order, str(listed), out=out)
