import pytest
from pydantic import model_validator

from fewmask.config import Config, Settings, Train, merge, nearest, parse_assignments, validated
from fewmask.errors import SettingsError
from fewmask.types import StrongView, WeakView


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
    with pytest.raises(SettingsError, match=r"^setting train\.steps=0: at least 1$"):
        validated(Train, {"steps": 0}, where="train")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("plan.size=32", "setting plan.size=32: give a list, for example [96,96]"),
        ("plan.size=[0,0]", "setting plan.size=[0, 0]: at least 1"),
        ("plan.size=[-8,32]", "setting plan.size=[-8, 32]: at least 1"),
        ("plan.size=[a,32]", "setting plan.size=['a', 32]: give a whole number"),
        ("plan.spacing_mm=[1,0,1]", "setting plan.spacing_mm=[1, 0, 1]: over 0"),
        ("plan.spacing_mm=[1,1]", "setting plan.spacing_mm=[1, 1]: a value is missing"),
        ("plan.spacing_mm=[1,1,1,1]", "setting plan.spacing_mm=[1, 1, 1, 1]: at most 3 values"),
        ("plan.flip=[-1]", "setting plan.flip=[-1]: at least 0"),
        ("plan.dims=4", "setting plan.dims=4: choose 2 or 3"),
        ("train.optimiser.lr=.inf", "setting train.optimiser.lr=inf: give a finite number"),
        ("train.optimiser.lr=nan", "setting train.optimiser.lr=nan: give a finite number"),
        ("train.optimiser.lr=fast", "setting train.optimiser.lr='fast': give a number"),
        ("train.steps=2.5", "setting train.steps=2.5: give a whole number"),
        ("train=3", "setting train=3: give its parts, for example train.steps=3000"),
        ("predict.flips=3", "setting predict.flips=3: give true or false"),
        (
            "predict.flips=true",
            "settings: predict.flips=true averages over mirrored copies; set plan.flip, so that they are learnt",
        ),
    ],
)
def test_wrong_values_are_said_in_plain_words(setting, message):
    with pytest.raises(SettingsError) as error:
        validated(Config, {"method": {}, **parse_assignments([setting])})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("view", "values", "message"),
    [
        (WeakView, {"scale": [0, 1]}, "setting scale=[0, 1]: over 0"),
        (WeakView, {"scale": [1.4, 0.7]}, "setting scale=[1.4, 0.7]: the smaller number comes first"),
        (StrongView, {"blur": [0.5, float("inf")]}, "setting blur=[0.5, inf]: give a finite number"),
        (StrongView, {"low_resolution": [0.5, 2]}, "setting low_resolution=[0.5, 2]: at most 1"),
    ],
)
def test_ranges_are_ordered_and_bounded(view, values, message):
    with pytest.raises(SettingsError) as error:
        validated(view, values)
    assert str(error.value) == message


def test_later_layers_win_and_say_so():
    values, sources = merge([("one", {"a": {"x": 1, "y": 2}}), ("two", {"a": {"y": 3}, "b": 4})])
    assert values == {"a": {"x": 1, "y": 3}, "b": 4}
    assert sources == {"a.x": "one", "a.y": "two", "b": "two"}


def test_with_nothing_near_all_are_named_up_to_a_dozen():
    assert nearest("zzz", ["b", "a", "a"]) == "; known: a, b"  # a case may be called as its patient
    names = [f"{number:03}" for number in range(200)]
    assert nearest("zzz", names) == f"; known: {', '.join(names[:12])} and 188 more"


def test_parts_that_do_not_fit_are_told_without_all_the_others() -> None:
    class Pair(Settings):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def _fit(self) -> "Pair":
            if self.low > self.high:
                raise ValueError("low is over high; exchange them")
            return self

    with pytest.raises(SettingsError) as caught:
        validated(Pair, {"low": 3}, where="method")
    assert str(caught.value) == "settings of method: low is over high; exchange them"
