"""Recipes: YAML files of settings that ship with fewmask or that a user writes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from fewmask.config import Settings, merge, nearest, validated
from fewmask.errors import SettingsError


class Recipe(Settings):
    """A YAML file of settings.  `about` describes it; `all`, `2d` and `3d` hold settings for any rank, 2-D and 3-D;
    `split` says who is labelled where the command does not."""

    class Split(Settings):
        """As the options of the same names: a number of patients, a percentage, a file or a name."""

        labelled: int | str | None = None
        val: int | str | None = None
        test: int | str | None = None

    class About(Settings):
        kind: Literal["method", "data", "tier"]
        summary: str
        title: str = ""
        paper: str = ""
        needs: str = ""

    name: str
    about: About
    split: Split = Split()
    all: dict[str, Any] = Field({})
    two: dict[str, Any] = Field({}, alias="2d")
    three: dict[str, Any] = Field({}, alias="3d")

    def settings(self, dims: int | None) -> dict[str, Any]:
        """The settings that hold for the rank; None leaves out what depends on the rank."""
        ranked = {2: self.two, 3: self.three}.get(dims or 0, {})
        return merge([("", self.all), ("", ranked)])[0]


def recipe_names() -> list[str]:
    """The recipes that ship with fewmask."""
    folder = files("fewmask") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or a user's own YAML file by path."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise SettingsError(f"recipe {name}: no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise SettingsError(f"recipe {name}: not UTF-8 text; save it as UTF-8") from None
    elif name in recipe_names():
        return _shipped(name)
    else:
        raise SettingsError(f"unknown recipe '{name}'{nearest(name, recipe_names())}")
    return _parsed(name, text)


@cache  # listing the methods reads every recipe, and each look at a command's settings lists them
def _shipped(name: str) -> Recipe:
    return _parsed(name, (files("fewmask") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))


def _parsed(name: str, text: str) -> Recipe:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"recipe {name}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise SettingsError(f"recipe {name}: expected keys about, split, all, 2d, 3d")
    return validated(Recipe, {"name": name, **content}, where=f"recipe {name}")
