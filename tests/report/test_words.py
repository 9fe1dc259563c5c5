"""Sentences that must be right, because people act on them."""

import copy
import html
import re
import shlex
from dataclasses import replace

import pytest

from fewmask.config import parse_assignments, written
from fewmask.report.page import join
from fewmask.report.record import read_records
from fewmask.report.words import continuation, counted, headline, provenance, same_split, warnings
from fewmask.resolution import Request, resolve


@pytest.fixture(scope="module")
def record(run):
    return read_records([run])[0]


def text(content) -> str:
    return " ".join(re.sub("<[^>]+>", " ", join(content)).split())


def test_counts():
    assert [counted(number, "case") for number in (0, 1, 1312)] == ["0 cases", "1 case", "1,312 cases"]


def test_findings_and_failures_are_warned_of(record):
    found = warnings(record)
    assert found[0] == "On test a class was missed 1 time; the table of cases says where."
    assert found[-1] == record.catalogue.findings[0]


def test_what_the_scores_are_on(record):
    only_val = replace(record, evaluations=record.evaluations[1:2])
    assert "The scores are on val, which also chose the checkpoint" in " ".join(warnings(only_val))
    nothing = replace(record, evaluations=())
    assert "Nothing was scored" in " ".join(warnings(nothing))
    no_val = replace(record, split=dict(record.split, val=[]))
    assert "No val cases: nothing chose between checkpoints" in " ".join(warnings(no_val))


def test_pseudo_labels_that_collapse_are_warned_of(record):
    def line(step, dice):
        return {"step": step, "val": {"dice": 0.5, "pseudo": {"raw": dice}}}

    falling = replace(record, log=[line(50, 0.6), line(100, 0.41)])
    assert "(raw) fell from Dice 0.60 at step 50 to 0.41" in " ".join(warnings(falling))
    assert "fell" not in " ".join(warnings(replace(record, log=[line(50, 0.6), line(100, 0.43)])))


def test_headline_without_a_catalogue_or_unlabelled_cases(record):
    bare = replace(record, catalogue=None, split=dict(record.split, unlabelled=[], labelled=["a", "b", "c"]))
    assert text(headline(bare)).startswith("FixMatch learned from 3 labelled cases in 200 steps (2 minutes).")


def test_a_method_that_no_recipe_knows_keeps_its_name(record):
    assert "own_idea learned" in text(headline(replace(record, config={"method": {"name": "own_idea"}})))


def test_commands_quote_the_paths(record):
    said = text(continuation(record))
    assert "fewmask predict '" in said and "r&lt;u&gt;n &amp; one' NEW_IMAGES --out MASKS" in said
    assert "--method supervised --steps 200" in said and "--method fixmatch --steps 600" in said
    alone = replace(record, config=dict(record.config, method={"name": "supervised"}))
    assert "without them" not in text(continuation(alone))


def test_the_next_commands_keep_recipes_settings_and_seed(record):
    settings = {
        "method": {"threshold": 0.9, "segmenter": {"width": 4}},
        "train": {"steps": 200, "seed": 7, "optimiser": {"lr": 1e-05}},
        "plan": {"size": [16, 24], "spacing_mm": None, "intensity": "zscore", "flip": [1]},
        "predict": {"flips": True},
    }
    asked = {"recipes": ["fixmatch", "cpu"], "settings": settings}
    shown = re.findall("fewmask run .*?(?=[\n<])", join(continuation(replace(record, request=asked))))
    twin, longer = (shlex.split(html.unescape(line)) for line in shown)
    assert twin[twin.index("--method") + 1] == "supervised" and longer[longer.index("--method") + 1] == "fixmatch"

    def told(command):
        recipes = [command[place + 1] for place, word in enumerate(command) if word == "--recipe"]
        return recipes, parse_assignments(word for word in command if "=" in word and "/" not in word)

    wanted = copy.deepcopy(settings)
    del wanted["train"]["steps"]  # --steps says it
    assert told(longer) == (["fixmatch", "cpu"], wanted)
    del wanted["method"]["threshold"]  # supervised has none
    assert told(twin) == (["cpu"], wanted)
    resolve(Request(method="supervised", recipes=["cpu"], settings=told(twin)[1]))


@pytest.mark.parametrize("value", [0.1, 1e-5, None, True, "true", "null", "a: b", [16, 24], [], {}, "é ü"])
def test_a_value_is_read_as_it_was(value):
    assert parse_assignments([f"x={written(value)}"])["x"] == value


def test_provenance_holds_command_split_and_settings(record):
    said = text(provenance(record))
    assert "fewmask run '&lt;i&gt;data&lt;/i&gt;'" in said and f"hash {record.split['hash']}" in said
    assert "torch 2.13.0" in said and "Sohn et al." in said and "steps: 200" in said


def test_same_split_ignores_the_order(record):
    turned = replace(record, split=dict(record.split, test=record.split["test"][::-1]))
    assert same_split([record, turned])
    assert not same_split([record, replace(record, split=dict(record.split, test=record.split["test"][1:]))])
