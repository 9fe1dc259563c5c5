"""The shared options: one name and one meaning in every command that has them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

from fewmask import api
from fewmask.cli import jobs, listings, options, stages


def test_every_shared_option_is_used_and_explained() -> None:
    shared = {name: value for name, value in vars(options).items() if name[0].isupper() and get_args(value)}
    assert len(shared) >= 17
    source = "".join(inspect.getsource(module) for module in (jobs, stages, listings))
    for name, value in shared.items():
        assert f": {name}" in source, f"{name} is used by no command"
        assert get_args(value)[-1].help, name


def test_run_and_train_ask_what_the_api_takes() -> None:
    """Python's two functions spell their list out, for help and editors; it is one list all the same."""
    run, train = (inspect.signature(command).parameters for command in (jobs.run, jobs.train))
    assert {name: run[name] for name in run if name not in ("out", "as_json")} == {
        name: train[name] for name in train if name not in ("out", "resume")
    }
    taken = [inspect.signature(function).parameters for function in (api.run, api.train)]
    assert {name: taken[0][name] for name in taken[0]} == {
        name: taken[1][name] for name in taken[1] if name != "resume"
    }
    assert {*jobs._asked(data=Path("data")), "out"} == set(taken[0])


def test_out() -> None:
    option = options.out_option("OUT", "Where.")
    assert (option.metavar, option.help) == ("OUT", "Where.")
