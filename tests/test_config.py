import pytest

from fewmask.config import Config, Train, merge, nearest, parse_assignments, validated
from fewmask.errors import SettingsError


def test_values_are_yaml_and_keys_nest():
    found = parse_assignments(["train.lr=1e-3", "plan.size=[96,96]", "a=b=c", "flag=true", "none=null"])
    assert found == {"train": {"lr": 1e-3}, "plan": {"size": [96, 96]}, "a": "b=c", "flag": True, "none": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [("train.steps", "write key=value"), ("=3", "write key=value"), ("a=[1", "is not YAML")],
)
def test_what_is_no_assignment_is_said(text, words):
    with pytest.raises(SettingsError, match=words):
        parse_assignments([text])


def test_a_value_cannot_have_parts():
    with pytest.raises(SettingsError, match="a value and a part"):
        parse_assignments(["train=3", "train.steps=4"])


def test_an_unknown_key_names_its_nearest_neighbour():
    with pytest.raises(SettingsError, match=r"unknown setting 'train.stepz'; did you mean 'steps'\?"):
        validated(Config, {"method": {}, "train": {"stepz": 3}})


def test_a_wrong_value_names_key_and_value():
    with pytest.raises(SettingsError, match=r"setting train.steps=0: .*greater than or equal to 1"):
        validated(Train, {"steps": 0}, where="train")


def test_later_layers_win_and_say_so():
    values, sources = merge([("one", {"a": {"x": 1, "y": 2}}), ("two", {"a": {"y": 3}, "b": 4})])
    assert values == {"a": {"x": 1, "y": 3}, "b": 4}
    assert sources == {"a.x": "one", "a.y": "two", "b": "two"}


def test_with_nothing_near_all_are_named():
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
