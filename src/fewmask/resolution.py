"""A run's settings: defaults <- method recipe <- data recipes <- tier recipe <- key=value; each with its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fewmask import config
from fewmask.choice import AUTO
from fewmask.config import Config
from fewmask.errors import SettingsError
from fewmask.recipe import Recipe, load_recipe, recipe_names
from fewmask.types import Task

if TYPE_CHECKING:
    from fewmask.methods.base import Method

DEFAULT_METHOD = "fixmatch"
"""Whose settings are shown and checked while the data have not yet chosen (`auto`)."""
COMMAND = "command line"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for, before data and machine are looked at.

    method None: that of a recipe or of the settings, else the one that suits the data (`auto`).  recipes: names or
    paths, stacked by kind.  settings: nested values that win over every recipe.
    """

    method: str | None = None
    recipes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A complete Config and, per dotted key, the source that set it."""

    config: Config
    sources: Mapping[str, str]

    def came_from(self, key: str) -> str:
        """The source of a dotted key; that of its parts, or `default`."""
        return self.sources.get(key, "default")

    def fixed(self) -> set[str]:
        """The fields of Plan that a user or a data recipe set; a tier's are defaults that a plan may fit."""
        prefix = "plan."
        return {
            key.removeprefix(prefix)
            for key, source in self.sources.items()
            if key.startswith(prefix) and (source == COMMAND or source.startswith("data recipe"))
        }


def method_names() -> list[str]:
    """The methods that ship, from their recipes; needs no torch."""
    return [name for name in recipe_names() if load_recipe(name).about.kind == "method"]


def resolve(request: Request, tier: str | None = None, dims: int | None = None) -> Resolved:
    """The settings for a tier and a rank; None leaves out what depends on it.

    Raises SettingsError naming the first unknown method, recipe or key, with its nearest neighbour.
    """
    by_kind: dict[str, list[Recipe]] = {"method": [], "data": [], "tier": []}
    for name in request.recipes:
        recipe = load_recipe(name)
        by_kind[recipe.about.kind].append(recipe)
    wanted = _with_method_section("the command line", request.settings)
    method = asked_method(request) or DEFAULT_METHOD
    shipped = load_recipe(method)
    if shipped.name not in {recipe.name for recipe in by_kind["method"]}:
        by_kind["method"].insert(0, shipped)
    if tier is not None and not by_kind["tier"]:
        by_kind["tier"].append(load_recipe(tier))

    layers: list[tuple[str, Mapping[str, Any]]] = []
    for kind, recipes in by_kind.items():
        for recipe in recipes:
            source = f"{kind} recipe {recipe.name}"
            layers.append((source, _with_method_section(source, recipe.settings(dims))))
    layers.append((COMMAND, wanted))
    preset = config.merge(layers)[0].get("method", {}).get("preset")
    merged, sources = config.merge([*_defaults(method, preset), *layers])
    if merged["method"].get("name", AUTO) == AUTO:
        merged["method"]["name"] = method
    if merged["method"]["name"] != method:
        raise SettingsError(f"{sources['method.name']}: method.name belongs under `all`, not under a rank")
    if request.method and request.method != AUTO:
        sources["method.name"] = COMMAND
    sources.setdefault("method.name", f"method recipe {method}")
    merged["recipes"] = [recipe.name for recipes in by_kind.values() for recipe in recipes]

    valid = config.validated(Config, merged)
    settings = {key: value for key, value in valid.method.items() if key != "name"}
    checked = config.validated(_method_config(method), settings, where="method").model_dump(mode="json")
    return Resolved(config=valid.model_copy(update={"method": {"name": method, **checked}}), sources=sources)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> dotted keys; an empty dict is a value."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any], apart_from: Iterable[str] = ()) -> str | None:
    """`key is X here and was Y before` for the first dotted key that differs, or None."""
    old, new, ignored = flat(before), flat(now), set(apart_from)
    for key in sorted((old.keys() | new.keys()) - ignored):
        if old.get(key) != new.get(key):
            return f"{key} was {_told(old, key)} and is now {_told(new, key)}"
    return None


def _told(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "absent"


def _with_method_section(source: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """`settings` with `method: NAME` written out as `method: {name: NAME}`; refuses what only options may say."""
    if "recipes" in settings:
        raise SettingsError(f"{source}: recipes={settings['recipes']} is no setting; use --recipe, once for each")
    method = settings.get("method", {})
    if isinstance(method, str):
        return {**settings, "method": {"name": method}}
    if not isinstance(method, Mapping) or not isinstance(method.get("name", ""), str):
        told = method.get("name") if isinstance(method, Mapping) else method
        raise SettingsError(f"{source}: method={told!r} is no name{config.nearest(str(told), method_names())}")
    return settings


def asked_method(request: Request) -> str | None:
    """The one method that --method, key=value and the recipes agree on; None where the data are to choose (`auto`)."""
    wanted = _with_method_section("the command line", request.settings)
    named = [request.method, wanted.get("method", {}).get("name")]
    for recipe in map(load_recipe, request.recipes):
        section = _with_method_section(f"recipe {recipe.name}", recipe.all).get("method", {})
        if recipe.about.kind == "method" and "name" not in section:
            raise SettingsError(
                f"recipe {recipe.name} names no method; add  all: {{method: {{name: {DEFAULT_METHOD}}}}}"
            )
        named.append(section.get("name"))
    names = dict.fromkeys(name for name in named if name not in (None, AUTO))
    if len(names) > 1:
        raise SettingsError(f"methods {' and '.join(names)} were both asked for; give one --method and recipes for it")
    method = next(iter(names), None)
    known = [*method_names(), AUTO]
    if method is not None and method not in known:
        raise SettingsError(f"unknown method '{method}'{config.nearest(method, known)}")
    return method


def trial(settings: Config) -> Method:
    """The method without memory for its weights: what it asks for, told before anything is trained.

    Raises SettingsError for a network or an optimiser's group that it does not have, and a size that it cannot take.
    """
    import torch  # as in _method_config

    from fewmask.methods import build_method
    from fewmask.training.optim import build_optimisers

    # of the real task only the size is known so early, or its rank; nothing that is refused here depends on the rest
    size = settings.plan.size or (64,) * (settings.plan.dims or 2)
    task = Task(channels=1, classes=2, names=("background", "organ"), patch_size=size)
    with torch.device("meta"):
        method = build_method(settings.method, task)
        build_optimisers(method.groups(), settings.train)
    return method


def _method_config(method: str) -> type[config.Settings]:
    from fewmask.methods import method_class  # imports torch, which listing and scanning do without

    return method_class(method).Config


def _defaults(method: str, preset: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """All settings as the classes have them, and those that the method's preset makes of them."""
    kind = _method_config(method)
    defaults = Config(method={}).model_dump(mode="json", exclude={"recipes"})
    defaults["method"] = kind().model_dump(mode="json")
    if not isinstance(preset, str) or preset not in kind.PRESETS:
        return [("default", defaults)]
    return [("default", defaults), (f"preset {preset}", {"method": kind.PRESETS[preset]})]
