"""methods, config, doctor."""

from __future__ import annotations

import json

from fewmask import plan


def test_methods(fewmask) -> None:
    status, out, _ = fewmask("methods", "--json")
    rows = json.loads(out)
    assert status == 0
    assert {row["name"] for row in rows} >= {"supervised", "mean_teacher", "fixmatch"}
    assert set(rows[0]) == {"name", "title", "paper", "needs"}
    assert fewmask("methods")[1].splitlines()[0].split() == ["name", "title", "paper", "needs"]


def test_doctor(fewmask) -> None:
    assert json.loads(fewmask("doctor", "--json")[1])["fewmask"] == "0.1.0"
    assert fewmask("doctor")[1].startswith("fewmask     0.1.0")


def test_config_says_where_each_came_from(fewmask) -> None:
    rows = json.loads(fewmask("config", "cpu", "plan.dims=2", "train.steps=7", "--json")[1])
    found = {row["key"]: (row["value"], row["from"]) for row in rows}
    assert found["train.steps"] == (7, "command line")
    assert found["plan.size"] == ([96, 96], "tier recipe cpu")
    assert found["train.clip"][1] == "default"
    assert found["method.name"] == ("fixmatch", "method recipe fixmatch")


def test_config_takes_the_tier_that_a_run_here_would(fewmask, monkeypatch) -> None:
    for cuda, tier in ((False, "cpu"), (True, "paper")):
        monkeypatch.setattr(plan, "has_cuda", lambda cuda=cuda: cuda)
        rows = json.loads(fewmask("config", "fixmatch", "plan.dims=2", "--json")[1])
        assert {row["from"] for row in rows if row["key"] == "plan.size"} == {f"tier recipe {tier}"}
    text = fewmask("config", "supervised")[1]
    assert text.splitlines()[0].split() == ["key", "value", "from"]
