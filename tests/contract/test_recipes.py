"""Every recipe that ships resolves, says what it is, and fits every method."""

from __future__ import annotations

from importlib.resources import files

import pytest

from fewmask import listing, resolution
from fewmask.methods import METHODS
from fewmask.recipe import load_recipe, recipe_names
from fewmask.resolution import Request

NAMES = recipe_names()
TIERS = [name for name in NAMES if load_recipe(name).about.kind == "tier"]


def test_how_many() -> None:
    kinds = [load_recipe(name).about.kind for name in NAMES]
    assert (kinds.count("method"), kinds.count("tier")) == (len(METHODS), 2)
    assert len(NAMES) >= 5


def test_method_recipes_are_the_methods() -> None:
    assert sorted(resolution.method_names()) == sorted(METHODS)
    assert [row["name"] for row in listing.method_rows()] == sorted(METHODS)
    for row in listing.method_rows():
        assert row["title"] and row["paper"] and row["needs"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_method_on_tier(method: str, tier: str, dims: int) -> None:
    resolved = resolution.resolve(Request(method=method), tier, dims)
    assert len(resolved.config.plan.size) == dims
    assert resolved.config.method["name"] == method
    assert resolved.came_from("plan.size") == f"tier recipe {tier}"


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_what_it_is(name: str) -> None:
    lines = (files("fewmask") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[:6] if line.startswith("#")]
    assert len(comment) >= 3
    assert any("fewmask " in line for line in comment), "the command to run it"
    assert any("one override" in line for line in comment)
