"""Which layer wins, where a setting came from, and how unknown names are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewmask import resolution
from fewmask.errors import SettingsError
from fewmask.resolution import COMMAND, Request, first_difference, flat, resolve

MINE = """
about: {kind: data, summary: mine}
all:
  train: {steps: 77, clip: 3}
  plan: {intensity: ct}
2d:
  plan: {size: [40, 44]}
3d:
  plan: {size: [16, 24, 24]}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return str(path)


def test_later_layers_win(mine: str) -> None:
    settings = {"train": {"steps": 5}}
    resolved = resolve(Request(method="supervised", recipes=(mine,), settings=settings), "cpu", 2)
    assert (resolved.config.train.steps, resolved.came_from("train.steps")) == (5, COMMAND)
    assert (resolved.config.train.clip, resolved.came_from("train.clip")) == (3, f"data recipe {mine}")
    assert resolved.came_from("train.seed") == "default"
    assert resolved.came_from("method.segmenter.width") == "tier recipe cpu"
    assert resolved.config.recipes == ("supervised", mine, "cpu")


def test_rank_chooses_the_section(mine: str) -> None:
    request = Request(recipes=(mine, "cpu"))
    assert resolve(request, None, None).config.plan.size is None
    assert len(resolve(request, "cpu", 2).config.plan.size) == 2
    assert len(resolve(request, "cpu", 3).config.plan.size) == 3


def test_fixed_are_the_users_and_the_data_recipes_choices(mine: str) -> None:
    assert resolve(Request(), "cpu", 3).fixed() == set()
    assert resolve(Request(recipes=(mine,)), None, 3).fixed() == {"intensity", "size"}
    assert resolve(Request(settings={"plan": {"size": [8, 8, 8]}}), "cpu", 3).fixed() == {"size"}


def test_the_method_comes_from_the_option_the_recipe_or_the_default() -> None:
    assert resolve(Request()).config.method["name"] == "fixmatch"
    assert resolve(Request(recipes=("supervised",))).config.method["name"] == "supervised"
    for automatic in (Request(method="auto"), Request(settings={"method": "auto"})):
        assert resolution.asked_method(automatic) is None
        assert resolve(automatic).config.method["name"] == resolution.DEFAULT_METHOD
    assert resolve(Request(method="mean_teacher")).config.method["name"] == "mean_teacher"
    assert resolve(Request(method="supervised", recipes=("supervised",))).config.recipes == ("supervised",)


def test_a_method_for_one_rank_is_refused(mine: str) -> None:
    Path(mine).write_text("about: {kind: data, summary: mine}\n2d: {method: {name: supervised}}\n")
    with pytest.raises(SettingsError, match=r"method\.name belongs under `all`"):
        resolve(Request(recipes=(mine,)), "cpu", 2)


@pytest.mark.parametrize("section", ["supervised", {"name": "supervised", "ema": 0.5}])
def test_the_method_may_be_a_setting(section) -> None:
    resolved = resolve(Request(settings={"method": section}))
    assert resolved.config.method["name"] == "supervised"
    assert resolved.came_from("method.name") == COMMAND


def test_a_data_recipe_may_name_the_method(mine: str) -> None:
    path = Path(mine)
    path.write_text("about: {kind: data, summary: mine}\nall: {method: supervised}\n")
    assert resolve(Request(recipes=(mine,))).config.method["name"] == "supervised"
    with pytest.raises(SettingsError, match="methods fixmatch and supervised were both asked for"):
        resolve(Request(method="fixmatch", recipes=(mine,)))
    path.write_text("about: {kind: method, summary: mine}\nall: {method: 3}\n")
    with pytest.raises(SettingsError, match=r"mine.yaml: method=3 is no name"):
        resolve(Request(recipes=(mine,)))


def test_a_method_recipe_of_ones_own_stacks_on_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("about: {kind: method, summary: slow}\nall: {method: {name: fixmatch, ema: 0.5}}\n")
    resolved = resolve(Request(recipes=(str(path),)))
    assert resolved.config.method["ema"] == 0.5
    assert resolved.config.recipes == ("fixmatch", str(path))


def test_a_method_recipe_that_names_none_is_told_how(tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("about: {kind: method, summary: slow}\nall: {train: {steps: 3}}\n")
    with pytest.raises(SettingsError, match=r"slow\.yaml names no method; add  all: \{method: \{name: fixmatch\}\}"):
        resolve(Request(recipes=(str(path),)))


def test_a_tier_recipe_replaces_the_machines(tmp_path: Path) -> None:
    path = tmp_path / "workstation.yaml"
    path.write_text("about: {kind: tier, summary: mine}\n2d: {plan: {size: [128, 128]}}\n")
    resolved = resolve(Request(recipes=(str(path),)), "cpu", 2)
    assert resolved.config.plan.size == (128, 128)
    assert "cpu" not in resolved.config.recipes


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(method="fixmtch"), "unknown method 'fixmtch'; did you mean 'fixmatch'"),
        (Request(recipes=("papr",)), "unknown recipe 'papr'; did you mean 'paper'"),
        (Request(settings={"trian": {"steps": 3}}), "unknown setting 'trian'; did you mean 'train'"),
        (
            Request(settings={"train": {"optimiser": {"ls": 3}}}),
            "unknown setting 'train.optimiser.ls'; did you mean 'lr'",
        ),
        (Request(settings={"method": {"segmenter": {"wdth": 3}}}), "'method.segmenter.wdth'; did you mean 'width'"),
        (Request(settings={"method": {"ema": 2}}), "setting method.ema=2"),
        (Request(method="fixmatch", recipes=("supervised",)), "methods fixmatch and supervised were both asked for"),
        (
            Request(method="fixmatch", settings={"method": {"name": "supervised"}}),
            "methods fixmatch and supervised were both asked for",
        ),
        (Request(settings={"method": 3}), r"method=3 is no name; known: .*supervised"),
        (Request(settings={"method": {"name": 3}}), "method=3 is no name"),
        (Request(settings={"method": [1]}), r"method=\[1\] is no name"),
        (Request(settings={"recipes": ["cpu"]}), r"recipes=\['cpu'\] is no setting; use --recipe"),
        (Request(settings={"train": 3}), "setting train=3: "),
    ],
)
def test_unknown_names(request_: Request, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(request_)


def test_flat_and_first_difference() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b was 1 and is now 2"
    assert first_difference({"a": {"b": 1}}, {}) == "a.b was 1 and is now absent"
    assert first_difference({"a": None}, {"a": "x", "c": 1}) == "a was None and is now 'x'"


def test_methods_are_listed_without_torch() -> None:
    assert set(resolution.method_names()) >= {"fixmatch", "mean_teacher", "supervised"}


@pytest.mark.parametrize("method", resolution.method_names())
@pytest.mark.parametrize("dims", [2, 3])
def test_a_trial_of_every_method_costs_no_memory(method: str, dims: int) -> None:
    resolved = resolve(Request(method=method, settings={"plan": {"dims": dims}}), "paper", dims)
    trial = resolution.trial(resolved.config)
    assert {parameter.device.type for parameter in trial.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": {"segmenter": {"name": "unett"}}}, "unknown network 'unett'; did you mean 'unet'"),
        ({"method": {"name": "diffrect"}, "plan": {"size": [8, 64]}}, r"plan\.size=\[8, 64\]: diffrect's rectifier"),
        ({"train": {"optimisers": {"foo": {"lr": 3}}}}, r"unknown setting 'train\.optimisers\.foo'; known: segmenter"),
    ],
)
def test_what_only_the_method_knows(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolution.trial(resolve(Request(settings=settings)).config)


def test_a_preset_stands_between_defaults_and_recipes() -> None:
    settings = {"method": {"preset": "released", "threshold": 0.7}}
    resolved = resolve(Request(method="diffrect", settings=settings), "cpu", 2)
    method = resolved.config.method
    assert (method["base"], method["threshold"], method["labelled_batch"]) == ("released", 0.7, 6)
    assert resolved.came_from("method.base") == "preset released"
    assert resolved.came_from("method.labelled_batch") == "tier recipe cpu"
    assert resolved.came_from("method.threshold") == COMMAND
    assert resolve(Request(method="diffrect"), "cpu", 2).config.method["base"] == "averaged"
