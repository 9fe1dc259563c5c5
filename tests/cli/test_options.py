"""The shared options: one name and one meaning in every command that has them."""

from __future__ import annotations

import inspect
from typing import get_args

from fewmask.cli import jobs, listings, options, stages


def test_every_shared_option_is_used_and_explained() -> None:
    shared = {name: value for name, value in vars(options).items() if name[0].isupper() and get_args(value)}
    assert len(shared) >= 17
    source = "".join(inspect.getsource(module) for module in (jobs, stages, listings))
    for name, value in shared.items():
        assert f": {name}" in source, f"{name} is used by no command"
        assert get_args(value)[-1].help, name


def test_out() -> None:
    option = options.out_option("OUT", "Where.")
    assert (option.metavar, option.help) == ("OUT", "Where.")
