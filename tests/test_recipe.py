"""Recipes: what ships, and one's own files."""

import pytest

from fewmask.errors import SettingsError
from fewmask.recipe import load_recipe, recipe_names
from fewmask.resolution import Request, resolve


def test_what_ships_can_be_loaded():
    names = recipe_names()
    assert {"cpu", "paper", "supervised", "fixmatch"} <= set(names)
    assert all(load_recipe(name).about.summary for name in names)


def test_what_ships_is_read_once_and_no_use_of_it_changes_it():
    request = Request(method="fixmatch", settings={"train": {"steps": 9}, "method": {"cutmix": 0.25}})
    before = load_recipe("fixmatch").model_dump()
    resolve(request, "cpu", 2)
    assert load_recipe("fixmatch") is load_recipe("fixmatch") and load_recipe("fixmatch").model_dump() == before
    assert load_recipe("cpu").settings(2)["method"]["segmenter"]["width"] == 16


def test_a_rank_has_its_own_settings_on_top(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("about: {kind: data, summary: x}\nall: {train: {steps: 5}}\n3d: {train: {steps: 7}}\n")
    recipe = load_recipe(str(path))
    assert [recipe.settings(dims)["train"]["steps"] for dims in (None, 2, 3)] == [5, 5, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: [", "not valid YAML"),
        ("just words", "expected keys about, split, all, 2d, 3d"),
        ("about: {kind: dish, summary: x}", "choose 'method', 'data' or 'tier'"),
    ],
)
def test_what_is_no_recipe_is_one_line(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message) as error:
        load_recipe(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)


def test_a_recipe_that_is_no_text(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"mine\.yaml: not UTF-8 text; save it as UTF-8"):
        load_recipe(str(tmp_path / "mine.yaml"))
