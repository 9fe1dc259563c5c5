"""Settings: frozen pydantic models, filled from recipes (YAML) and `key=value`; no unknown key passes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fewmask.errors import SettingsError


class Settings(BaseModel):
    """Base of every settings class: keyword-only, immutable, closed; each field carries a docstring."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def refuse_given(self, names: Iterable[str], where: str) -> None:
        """ValueError for the first field ("name" or "group.name") not at its default: `where` it does nothing."""
        defaults = type(self).model_construct()
        for name in names:
            given, default = (reduce(getattr, name.split("."), settings) for settings in (self, defaults))
            if given != default:
                raise ValueError(f"{name}={written(given)} has no place in {where}; leave it out")


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the smaller number comes first")
    return pair


Count = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=0, le=2)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
"""From the smaller to the larger number, both over 0; the same for shares below."""
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_ordered)]


class Network(Settings):
    """Which segmentation network."""

    name: str = "unet"
    """A key of nets.SEGMENTERS."""
    width: int = Field(16, ge=1)
    """Channels of the finest level; each coarser level doubles them."""
    dropout: float = Field(1.0, ge=0, le=1)
    """Factor on the network's own dropout rates (U-Net 0.05 to 0.5, V-Net 0.5); 0: none."""
    normalisation: Literal["batch", "group"] = "batch"
    """group: no statistics over the batch, so results depend neither on its size nor on the number of processes."""


class Optimiser(Settings):
    """One optimiser and its learning-rate schedule."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    """First-moment decay: SGD's momentum, Adam's beta1."""
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    """cosine to zero; poly: (1 - t)^0.9 (SSL4MIS); t is the share of the budget that is spent."""
    warmup: float = Field(0.02, ge=0, lt=1)
    """Share of the budget over which the rate rises linearly, from the first step on."""


class Plan(Settings):
    """What plan.py decides unless it is set here; None and `auto` mean: decide."""

    tier: Literal["auto", "cpu", "paper"] = "auto"
    dims: Literal[2, 3] | None = None
    size: tuple[Count, ...] | None = None
    """2-D: every slice is resized to (H, W).  3-D: the patch (D, H, W)."""
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """3-D: the common voxel spacing (D, H, W); None: the median."""
    zoom: float = Field(1.0, gt=0, le=4)
    """3-D: prepared voxels per voxel of that spacing, or per voxel as it is; 0.5 halves the resolution."""
    intensity: Literal["auto", "zscore", "ct", "percentile", "rgb"] = "auto"
    flip: tuple[Axis, ...] = ()
    """Spatial axes that are mirrored; by default none: scans of mirrored patients do not occur, and learning them costs
    more than it gives (docs/results/mirroring.md)."""
    rotation: float | None = Field(None, ge=0, le=180)
    """Largest rotation of training images in degrees; None: 180 for slices of volumes, else 30."""


class Train(Settings):
    """How long and with what a method is trained."""

    steps: int = Field(2000, ge=1)
    """Budget: batches shown to the segmentation network."""
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on CUDA and on CPUs with AMX, else float32."""
    threads: int = Field(0, ge=0)
    """Torch threads on the CPU; 0: one less than the cores, at least 1.  Results are bit-equal only at equal counts."""
    workers: int = Field(1, ge=0)
    """Loader processes; batches do not depend on it."""
    clip: float = Field(12.0, gt=0)
    """Largest norm of a group's gradient (nnU-Net's 12)."""
    validations: int = Field(10, ge=0)
    """How often val is predicted, evenly over the budget; 0: never, the last checkpoint is the result."""
    save_minutes: float = Field(1.0, gt=0)
    """Minutes between resumable checkpoints."""
    optimiser: Optimiser = Optimiser()
    optimisers: dict[str, Optimiser] = {}
    """Optimisers for single groups of the method, in place of `optimiser`."""
    tensorboard: bool = False
    """Write TensorBoard event files beside log.jsonl (needs fewmask[tensorboard])."""


class Predict(Settings):
    """How masks are predicted."""

    flips: bool = False
    """Average over mirrored copies along the axes of `plan.flip`, which must not be empty."""
    overlap: float = Field(0.5, ge=0, lt=1)
    """Share by which neighbouring windows overlap."""
    batch: int = Field(16, ge=1)
    """Slices or windows in one forward pass."""


class Config(Settings):
    """Everything that determines a run, as written to RUN/config.yaml.

    `method` is checked by the method's own Config class, which lives beside the method.
    """

    method: dict[str, Any]
    recipes: tuple[str, ...] = ()
    plan: Plan = Plan()
    train: Train = Train()
    predict: Predict = Predict()

    @model_validator(mode="after")
    def _mirrors(self) -> Self:
        if self.predict.flips and not self.plan.flip:
            raise ValueError("predict.flips=true averages over mirrored copies; set plan.flip, so that they are learnt")
        return self


AnySettings = TypeVar("AnySettings", bound=Settings)


def validated(model: type[AnySettings], values: Mapping[str, Any], where: str = "") -> AnySettings:
    """`values` as `model`; raises SettingsError with one line naming the first wrong key, its value and the remedy."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            key = ".".join([where, *path] if where else path)
            raise SettingsError(f"unknown setting '{key}'{nearest(path[-1], _siblings(model, path))}") from None
        while path and path[-1].isdecimal():  # an entry of a list: the whole list is the setting
            path.pop()
        given: Any = values
        for part in path:
            given = given.get(part) if isinstance(given, Mapping) else None
        if not path:  # parts that do not fit each other
            raise SettingsError(f"settings{' of ' if where else ''}{where}: {_wanted(first)}") from None
        key = ".".join([where, *path] if where else path)
        if first["type"] == "value_error" and isinstance(given, Mapping):  # parts of a section that do not fit
            raise SettingsError(f"settings of {key}: {_wanted(first)}") from None
        raise SettingsError(f"setting {key}={given!r}: {_wanted(first)}") from None


WANTED = {
    "int": "give a whole number",
    "float": "give a number",
    "bool": "give true or false",
    "string": "give text",
    "tuple": "give a list, for example [96,96]",
    "list": "give a list, for example [a,b]",
    "model": "give its parts, for example train.steps=3000",
    "dict": "give its parts, for example train.steps=3000",
    "finite": "give a finite number",
    "literal": "choose {expected}",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "over {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "too_long": "at most {max_length} values",
    "missing": "a value is missing",
    "value_error": "{error}",
}
"""How pydantic's names of errors begin -> what is wanted, in plain words."""


def _wanted(error: Mapping[str, Any]) -> str:
    """What a setting should be instead of what pydantic found."""
    kind = max((start for start in WANTED if error["type"].startswith(start)), key=len, default=None)
    return WANTED[kind].format(**error.get("ctx", {})) if kind else error["msg"].lower()


def _siblings(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The field names that stand beside the last part of `path`."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


SHOWN = 12
"""Names that a message lists at most: a data set has thousands of cases."""


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' or '; known: A, B, C', to close an error message about an unknown name."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"; known: {', '.join(known[:SHOWN])}{more}" if known else ""


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """`["train.lr=1e-3", ...]` -> nested dict; values are YAML.  Raises SettingsError where there is no `=`."""
    values: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"'{text}' is no setting; write key=value, for example train.steps=3000")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SettingsError(f"setting {key}: '{value}' is not YAML; quote it") from None
        if isinstance(parsed, str):
            parsed = _number(parsed)
        branch = values
        *parents, leaf = key.split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise SettingsError(f"setting {key}: '{parent}' was given a value and a part")
        if isinstance(branch.get(leaf), dict):
            raise SettingsError(f"setting {key}: '{leaf}' was given a value and a part")
        branch[leaf] = parsed
    return values


def written(value: Any) -> str:
    """A value as one writes it after `key=`; text that would be read as something else is quoted."""
    if isinstance(value, str) and parse_assignments([f"x={value}"])["x"] == value:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _number(text: str) -> float | str:
    """YAML 1.1 reads 1e-3 as text; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def merge(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Layers of (source, nested dict), later wins -> the merged dict and, per dotted leaf, the source that won."""
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def lay(target: dict[str, Any], values: Mapping[str, Any], source: str, prefix: str) -> None:
        for key, value in values.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping):
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                lay(target[key], value, source, path + ".")
            else:
                target[key] = value
                sources[path] = source

    for source, values in layers:
        lay(merged, values, source, "")
    return merged, sources
