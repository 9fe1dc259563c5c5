"""Every recipe that ships resolves, says what it is, and fits every method."""

from __future__ import annotations

from importlib.resources import files

import pytest

from fewmask import listing, resolution
from fewmask.methods import METHODS
from fewmask.recipe import load_recipe, recipe_names
from fewmask.resolution import Request

NAMES = recipe_names()
RECIPES = {name: load_recipe(name) for name in NAMES}
TIERS = [
    name for name, found in RECIPES.items() if found.about.kind == "tier" and "name" not in found.all.get("method", {})
]
COMPLETE = [name for name, found in RECIPES.items() if found.about.kind == "tier" and name not in TIERS]
DATA = [name for name, found in RECIPES.items() if found.about.kind == "data"]


def test_how_many() -> None:
    assert sorted(TIERS) == ["cpu", "cpu-half", "paper"]
    assert len(NAMES) == len(METHODS) + len(TIERS) + len(COMPLETE) + len(DATA)
    assert len(DATA) >= 5 and COMPLETE


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


@pytest.mark.parametrize("name", COMPLETE)
def test_a_published_setup_names_its_method_and_builds(name: str) -> None:
    resolved = resolution.resolve(Request(recipes=(name,)), dims=2)
    assert resolved.config.method["name"] == RECIPES[name].all["method"]["name"]
    resolution.trial(resolved.config)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", DATA)
def test_data_on_tier(name: str, tier: str) -> None:
    """A data recipe says who is labelled and the rank, and leaves the scale to the tier."""
    assert RECIPES[name].split.labelled and RECIPES[name].split.val
    dims = RECIPES[name].all["plan"]["dims"]
    resolved = resolution.resolve(Request(recipes=(name,)), tier, dims)
    assert resolved.came_from("plan.dims") == f"data recipe {name}"
    assert resolved.came_from("plan.size") == f"tier recipe {tier}"


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_what_it_is(name: str) -> None:
    lines = (files("fewmask") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[:6] if line.startswith("#")]
    assert len(comment) >= 3
    assert any("fewmask " in line for line in comment), "the command to run it"
    assert any("one override" in line for line in comment)


@pytest.mark.parametrize("dims", [2, 3])
def test_methods_differ_by_their_idea_and_by_nothing_that_all_have(dims: int) -> None:
    """Augmentation, batches, burn-in, network, averaging, steps, schedule and validation, as they ship."""
    configs = {name: resolution.resolve(Request(method=name), "cpu", dims).config for name in METHODS}
    shared = ("segmenter", "weak", "strong", "labelled_batch", "unlabelled_batch", "burn_in", "ema")
    for name, config in configs.items():
        for key in shared:
            if key in config.method:
                assert config.method[key] == configs["fixmatch"].method[key], (name, key)
        own = config.train.optimisers  # of further networks, which the others do not have
        assert "segmenter" not in own and "other" not in own, name
        assert config.train.model_copy(update={"optimisers": {}}) == configs["supervised"].train, name


@pytest.mark.parametrize("method", [{"labels": "none"}, {"labels": "raw"}, {"calibrator": {"variant": "one_step"}}])
def test_controls_of_a_published_setup_resolve(method: dict) -> None:
    """What a recipe sets, nobody has typed: it must not stand in a control's way."""
    resolution.resolve(Request(recipes=("caudo_diff-full",), settings={"method": method}), dims=2)
